"""Whether two tokenizers give every id the same meaning."""

from __future__ import annotations

import logging

from transformers import PreTrainedTokenizerBase

from specframe.model.language_model import LanguageModel

_log = logging.getLogger(__name__)


def difference(draft_model: LanguageModel, target: LanguageModel) -> str | None:
    """Compare two models' tokenizers id by id; return the first that differs, None where none does.

    One may know more ids, behind all of the other's. Such ids, often special tokens of a fine-tuned model,
    are logged as a warning.
    """
    drafted, emitted = (_tokens_by_id(model.tokenizer) for model in (draft_model, target))
    shorter = min(max(drafted, default=-1), max(emitted, default=-1))
    for token_id in range(shorter + 1):
        if drafted.get(token_id) != emitted.get(token_id):
            return (
                f"token id {token_id} is {_shown(drafted, token_id)} to the draft model and "
                f"{_shown(emitted, token_id)} to the target"
            )
    if len(drafted) != len(emitted):
        knows, other = (draft_model, target) if len(drafted) > len(emitted) else (target, draft_model)
        _log.warning(
            "only %s knows the %d token ids from %d on (%s), %s does not: they are hardly ever drafted",
            knows.name,
            abs(len(drafted) - len(emitted)),
            shorter + 1,
            _shown(drafted | emitted, shorter + 1),
            other.name,
        )
    return None


def _tokens_by_id(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Return the token of every id; of several, the first by alphabet."""
    return {token_id: token for token, token_id in sorted(tokenizer.get_vocab().items(), reverse=True)}


def _shown(tokens: dict[int, str], token_id: int) -> str:
    return repr(tokens[token_id]) if token_id in tokens else "no token"

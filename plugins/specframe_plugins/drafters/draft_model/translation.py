"""From the target's tokens to those of a draft model with another tokenizer, and back.

Two tokens are the same if they stand for the same bytes in the middle of a text. What the draft model reads
is translated token by token: where the target wrote ``light`` and ``house``, the draft model reads these two,
though it would write ``lighthouse`` as one. Tokenised as a whole the end of the text would change with every
token, and the draft model would not know words again that it saw before (docs/drafters.md has the figures).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from specframe.errors import CheckpointError
from specframe.model.language_model import LanguageModel
from specframe_plugins.drafters.draft_model.text_writer import TextWriter
from specframe_plugins.drafters.draft_model.token_bytes import TokenBytes

# Tokenizers with fewer of the target's tokens in common share letters, and hardly a word.
_LEAST_SHARE = 0.01


class Translation:
    """Between the tokens of a target and those of a draft model.

    Args:
        draft_model: its name, its tokenizer, and how many tokens it has.
        target: likewise.

    Attributes:
        own_ids: the draft model's tokens that the target has too, rising [R] int64.
        token_ids: the target's for each of them, no id twice [R] int64.
        share: R out of the target's tokens.
        prefix: ids that the draft model reads before a text.
    """

    def __init__(self, draft_model: LanguageModel, target: LanguageModel) -> None:
        self._own, self._theirs = (TokenBytes.read(model.tokenizer) for model in (draft_model, target))
        self._own_writer = TextWriter(draft_model.tokenizer, self._own)
        self._their_writer = TextWriter(target.tokenizer, self._theirs)
        self._names = draft_model.name, target.name
        self.prefix = self._own_writer.prefix
        pairs = self._pairs(draft_model, target)
        self.own_ids = torch.tensor(sorted(pairs), dtype=torch.int64, device=target.device)
        self.token_ids = torch.tensor([pairs[one] for one in sorted(pairs)]).to(self.own_ids)
        self._size = target.vocab_size
        self.share = len(pairs) / self._size
        self._pair_of = pairs
        self._known: dict[int, tuple[int, ...]] = {
            token_id: (own_id,) for own_id, token_id in pairs.items() if token_id in self._theirs.special
        }

    def check_share(self) -> None:
        """Raise ``CheckpointError`` where too few tokens are the same to draft with them alone."""
        if self.share < _LEAST_SHARE:
            draft_model, target = self._names
            raise CheckpointError(
                f"draft model {draft_model} has {len(self.own_ids):,} of the tokens of {target}, "
                f"{self.share:.2%}; allowed: {_LEAST_SHARE:.0%} or more, or -o drafter.tokens=strings"
            )

    def __str__(self) -> str:
        draft_model, target = self._names
        return (
            f"draft model {draft_model} has another tokenizer than {target}: it drafts "
            f"{len(self.own_ids):,} of {self._size:,} tokens, {self.share:.0%}"
        )

    def reads(self, token_id: int, *, after: int, empty: bool) -> tuple[int, ...]:
        """Return the draft model's tokens for one of the target's.

        Args:
            token_id: of the target.
            after: how many tokens of the target stand before it.
            empty: the draft model has read nothing for those.
        """
        before = self._their_writer.prefix
        if empty and after < len(before) and token_id == before[after]:
            return ()  # the draft model has a prefix of its own
        if empty:
            text = self._theirs.of.get(token_id, b"")
            return self._own_writer.write(
                text.removeprefix(b" ") if self._their_writer.adds_space else text, begins=True
            )
        if token_id not in self._known:
            self._known[token_id] = self._translated(token_id)
        return self._known[token_id]

    def says(self, own_id: int) -> bytes | None:
        """Return the bytes of one of the draft model's tokens; None where it is no part of a text."""
        return None if own_id in self._own.special else self._own.of.get(own_id)

    def same(self, own_id: int) -> int | None:
        """Return the target's token that is the same as one of the draft model's; None without one."""
        return self._pair_of.get(own_id)

    def written(self, text: bytes) -> list[tuple[int, int]]:
        """Return the target's tokens for what follows a text, each with the number of its first byte [n]."""
        ids, at = [], 0
        for token_id in self._their_writer.write(text):
            ids.append((token_id, at))
            at += len(self._theirs.of.get(token_id, b""))
        return ids

    def begins_with(self, own_id: int) -> int:
        """Return the target's first token for one of the draft model's; -1 without any."""
        text = self.says(own_id)
        if text is None:
            return self._pair_of.get(own_id, -1)
        return next((token_id for token_id, _ in self.written(text)), -1)

    def _translated(self, token_id: int) -> tuple[int, ...]:
        """Return the draft model's tokens for one in the middle of a text."""
        text = self._theirs.of.get(token_id, b"")
        if token_id not in self._theirs.special and text in self._own.id_of:
            return (self._own.id_of[text],)
        return self._own_writer.write(text)

    def _pairs(self, draft_model: LanguageModel, target: LanguageModel) -> dict[int, int]:
        """Return the target's token for each of the draft model's that it has too."""
        found: dict[int, int] = {}
        taken: set[int] = set()
        for own_id, token_id in self._same(draft_model, target):
            known = own_id < draft_model.vocab_size and token_id < target.vocab_size
            if known and own_id not in found and token_id not in taken:
                found[own_id] = token_id
                taken.add(token_id)
        return found

    def _same(self, draft_model: LanguageModel, target: LanguageModel) -> Iterator[tuple[int, int]]:
        """Yield tokens of both that are the same: text, then special ones, then the end of a text."""
        for text, own_id in self._own.id_of.items():
            if text in self._theirs.id_of:
                yield own_id, self._theirs.id_of[text]
        special = {
            self._theirs.of[token_id]: token_id for token_id in self._theirs.special & {*self._theirs.of}
        }
        for own_id in sorted(self._own.special & {*self._own.of}):
            if self._own.of[own_id] in special:
                yield own_id, special[self._own.of[own_id]]
        ends = draft_model.tokenizer.eos_token_id, target.tokenizer.eos_token_id
        if ends[0] is not None and ends[1] is not None:
            yield ends

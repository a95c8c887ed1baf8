"""The rows of a batch of transformers' ``generate``: each is answered alone, together they are its output."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList
from transformers.generation import logits_process as hf
from transformers.generation.utils import GenerateDecoderOnlyOutput

from specframe.contracts.target_logits import TargetLogits
from specframe.request.generation_config import NoRepeatOfPrompt

STATEFUL = (hf.UnbatchedClassifierFreeGuidanceLogitsProcessor, hf.SynthIDTextWatermarkLogitsProcessor)

# By type, the attribute that counts tokens of the padded prompt.
_COUNTED = {
    hf.MinNewTokensLengthLogitsProcessor: "prompt_length_to_skip",
    hf.ForcedEOSTokenLogitsProcessor: "max_length",
    hf.ExponentialDecayLengthPenalty: "regulation_start",
    hf.SuppressTokensAtBeginLogitsProcessor: "begin_index",
}


class Row:
    """One row of a batch.

    Args:
        at: its number.
        prompt_ids: without padding [L].
        padded: with padding on the left [T].
        config: the generation config, as transformers prepared it.

    Attributes:
        new_ids: what was generated for it.
        scores: after every processor, before each new token, float32 [V]; empty where not asked for.
        logits: the target's own, likewise.
    """

    def __init__(self, at: int, prompt_ids: Tensor, padded: Tensor, config: GenerationConfig) -> None:
        self.new_ids: list[int] = []
        self.scores: list[Tensor] = []
        self.logits: list[Tensor] = []
        self._at, self._prompt_ids, self._padded, self._config = at, prompt_ids, padded, config
        self._padding = len(padded) - len(prompt_ids)

    @property
    def watch(self) -> Callable[[TargetLogits, Sequence[int]], None] | None:
        """What a request tells of its logits; None where nobody asked for them."""
        return self._note if self._asked("scores") or self._asked("logits") else None

    def processors(self, prepared: LogitsProcessorList) -> LogitsProcessorList:
        """Return the processors that transformers would have prepared for this row alone."""
        return LogitsProcessorList([self._own(processor) for processor in prepared])

    def asks(self, criteria: StoppingCriteriaList) -> Callable[[Sequence[int]], bool]:
        """Return whether the criteria end the row after new ids."""
        padded = self._padded[None]

        def until(new_ids: Sequence[int]) -> bool:
            new = torch.tensor([new_ids], dtype=padded.dtype, device=padded.device)
            # Without output_scores transformers too hands its criteria None.
            return bool(criteria(torch.cat([padded, new], dim=1), None).all())

        return until

    def _asked(self, what: str) -> bool:
        return bool(self._config.return_dict_in_generate and getattr(self._config, f"output_{what}", False))

    def _note(self, target: TargetLogits, nodes: Sequence[int]) -> None:
        if self._asked("scores"):
            self.scores += target.rows(nodes).unbind()
        if self._asked("logits"):
            raw = target.raw
            self.logits += raw[torch.tensor(nodes, device=raw.device)].float().unbind()

    def _own(self, prepared: Any) -> Any:
        own = copy.copy(prepared) if type(prepared).__module__ == hf.__name__ else prepared
        ids: Any = self._prompt_ids[None]
        if type(own) in _COUNTED:
            name = _COUNTED[type(own)]
            setattr(own, name, getattr(own, name) - self._padding)
        elif type(own) is hf.MinLengthLogitsProcessor and self._config.min_new_tokens is not None:
            own.min_length -= self._padding  # transformers has added the length of the prompt
        elif type(own) is hf.RepetitionPenaltyLogitsProcessor:
            ignored = own.prompt_ignore_length
            if isinstance(ignored, Tensor):  # one number a row, its padding
                own.prompt_ignore_length = int(ignored[self._at]) - self._padding or None
        elif type(own) is hf.EncoderRepetitionPenaltyLogitsProcessor:
            own.encoder_input_ids = ids
        elif type(own) is hf.EncoderNoRepeatNGramLogitsProcessor:
            return NoRepeatOfPrompt(own.ngram_size, ids)
        elif type(own) is hf.PrefixConstrainedLogitsProcessor:
            allowed, at = own._prefix_allowed_tokens_fn, self._at
            own._prefix_allowed_tokens_fn = lambda _, sent: allowed(at, sent)
        return own


def assembled(
    input_ids: Tensor, rows: Sequence[Row], config: GenerationConfig
) -> Tensor | GenerateDecoderOnlyOutput:
    """Return what ``generate`` returns for the rows of a batch [B, T]: padded on the right [B, T + n]."""
    longest = max(len(row.new_ids) for row in rows)
    padding = getattr(config, "_pad_token_tensor", None)
    new_ids = input_ids.new_full((len(rows), longest), 0 if padding is None else int(padding))
    for row, into in zip(rows, new_ids, strict=True):
        into[: len(row.new_ids)] = torch.tensor(row.new_ids)
    sequences = torch.cat([input_ids, new_ids], dim=1)
    if not config.return_dict_in_generate:
        return sequences
    return GenerateDecoderOnlyOutput(
        sequences=sequences,  # type: ignore[arg-type]  # any integer tensor
        scores=_steps([row.scores for row in rows], longest),
        logits=_steps([row.logits for row in rows], longest),
    )


def _steps(rows: Sequence[list[Tensor]], longest: int) -> tuple[Any, ...] | None:
    """Return one tensor [B, V] per step, zero in rows that have ended; None where there are none."""
    if not rows[0]:
        return None
    nothing = torch.zeros_like(rows[0][0])
    return tuple(
        torch.stack([row[step] if step < len(row) else nothing for row in rows]) for step in range(longest)
    )

"""A request's logits processors: those of its sampling parameters, and its own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import LogitsProcessorList, TopPLogitsWarper
from transformers.generation import logits_process

from specframe.contracts.sampling import SamplingParams
from specframe.contracts.target_logits import HeadOutput, TargetLogits
from specframe.contracts.tree import DraftTree
from specframe.request.generation_config import ModelDefaults, Situation

# Processors that look at the scores alone. Every other one is given the token ids before each node.
_BLIND = (
    logits_process.TemperatureLogitsWarper,
    logits_process.TopKLogitsWarper,
    logits_process.TopPLogitsWarper,
    logits_process.MinPLogitsWarper,
    logits_process.TopHLogitsWarper,
    logits_process.TypicalLogitsWarper,
    logits_process.EpsilonLogitsWarper,
    logits_process.EtaLogitsWarper,
    logits_process.SuppressTokensLogitsProcessor,
    logits_process.LogitNormalization,
)

# Tokens that are looked at first; nearly always the nucleus is among them.
_CANDIDATES = 1024


class LogitsProcessing:
    """Applies one request's processors, and keeps the token ids for those that look at them.

    Args:
        processors: in order of application.
        prompt_ids: [T] int64.
        capacity: how many tokens the request may have, prompt included.
    """

    def __init__(self, processors: LogitsProcessorList, prompt_ids: Tensor, capacity: int) -> None:
        self._processors = processors
        self._ids: Tensor | None = None
        self._length = len(prompt_ids)
        if any(not isinstance(processor, _BLIND) for processor in processors):
            self._ids = prompt_ids.new_empty(max(capacity, self._length))
            self._ids[: self._length] = prompt_ids

    def extend(self, emitted: tuple[int, ...]) -> None:
        """Take note of what was emitted."""
        if self._ids is not None:
            end = self._length + len(emitted)
            self._ids[self._length : end] = torch.tensor(emitted)
            self._length = end

    def after(self, tree: DraftTree, raw: Tensor | HeadOutput) -> TargetLogits:
        """Return the target's logits [N, V] after a tree whose root is the last emitted token."""
        context = None if self._ids is None else self._ids[: self._length]
        return TargetLogits(raw, tree, self._processors, context)


def logits_processors(
    sampling: SamplingParams,
    custom: LogitsProcessorList | None = None,
    model: ModelDefaults | None = None,
    situation: Situation | None = None,
) -> LogitsProcessorList:
    """Return the processors of sampling parameters in the order of transformers' ``generate``.

    Args:
        sampling: the parameters, settled.
        custom: processors of the caller; they come after the repetition penalty and before the temperature.
        model: what the model's generation config asks for besides.
        situation: of the request; needed with ``model``.
    """
    own: dict[str, LogitsProcessorList] = {}
    if model is not None and situation is not None:
        own = model.processors(situation, custom)
    processors = LogitsProcessorList(own.get("first", ()))
    replaced = "repetition_penalty" not in sampling.given and any(
        type(one) is logits_process.RepetitionPenaltyLogitsProcessor for one in custom or ()
    )
    if sampling.repetition_penalty != 1.0 and not replaced:
        penalty = float(sampling.repetition_penalty)
        processors.append(logits_process.RepetitionPenaltyLogitsProcessor(penalty))
    processors.extend(own.get("then", ()))
    processors.extend(custom or ())
    if sampling.temperature > 0.0:
        processors.extend(_warpers(sampling, own))
    processors.extend(own.get("end", ()))
    return processors


def _warpers(sampling: SamplingParams, own: Mapping[str, LogitsProcessorList]) -> LogitsProcessorList:
    """Return the processors of sampling alone."""
    warpers = LogitsProcessorList()
    if sampling.temperature != 1.0:
        warpers.append(logits_process.TemperatureLogitsWarper(float(sampling.temperature)))
    warpers.extend(own.get("hot", ()))
    if sampling.top_k:
        warpers.append(logits_process.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1.0:
        warpers.append(NucleusWarper(sampling.top_p))
    if sampling.min_p:
        warpers.append(logits_process.MinPLogitsWarper(sampling.min_p))
    warpers.extend(own.get("last", ()))
    return warpers


class NucleusWarper(TopPLogitsWarper):
    """Keeps the tokens of ``TopPLogitsWarper``: those for which what is more likely adds up to less than p.

    Only a few of the most likely tokens are sorted. Where they do not add up to p, all are, as in
    transformers. Sums are in float64, so a token may be kept or not where transformers' float32 sum of the
    whole vocabulary rounds across p.
    """

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores [n, V] with -inf outside the nucleus."""
        if scores.shape[-1] <= _CANDIDATES:
            return super().__call__(input_ids, scores)  # type: ignore[no-any-return]  # untyped
        best = scores.topk(_CANDIDATES, dim=-1)
        total = scores.logsumexp(dim=-1, keepdim=True)
        probabilities = (best.values - total).exp().double()
        before = probabilities.cumsum(dim=-1) - probabilities
        if not bool((before[:, -1] >= self.top_p).all()):
            return super().__call__(input_ids, scores)  # type: ignore[no-any-return]  # untyped
        kept = best.values.masked_fill(before >= self.top_p, self.filter_value)
        return torch.full_like(scores, self.filter_value).scatter_(-1, best.indices, kept)

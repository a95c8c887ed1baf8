"""The target's logits after the nodes of a draft tree, processed where a verifier looks and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessorList
from transformers.generation import logits_process

from specframe.config import RunConfig
from specframe.errors import SpecframeError
from specframe.nucleus import NucleusWarper
from specframe.types import DraftTree

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


class TargetLogits:
    """What the target says after each node of one draft tree.

    Processing a row may sort the vocabulary, and most nodes of a tree are never visited. So rows are
    processed when they are asked for.

    Args:
        raw: the target's logits after each node [N, V].
        tree: N nodes.
        processors: are applied to every row in float32; None for none.
        context: ids of the prompt and of everything emitted, the tree's root included [T] int64; None when
            no processor looks at ids.

    Attributes:
        raw: the logits as the target returned them [N, V].
        processed_at_all: whether ``rows`` differs from ``raw``.
    """

    def __init__(
        self,
        raw: Tensor,
        tree: DraftTree,
        processors: LogitsProcessorList | None = None,
        context: Tensor | None = None,
    ) -> None:
        self.raw = raw
        self.processed_at_all = bool(processors)
        self._tree, self._processors, self._context = tree, processors, context
        self._probabilities: dict[int, Tensor] = {}
        self._lineage: tuple[list[int], list[int]] | None = None

    def rows(self, nodes: Sequence[int]) -> Tensor:
        """Return the processed logits after ``nodes`` [n, V] float32; -inf where a token is ruled out."""
        index = torch.tensor(nodes, device=self.raw.device)
        scores = self.raw.index_select(0, index).float()
        if not self._processors:
            return scores
        if self._context is None:
            nothing = torch.empty(len(nodes), 0, dtype=torch.int64, device=self.raw.device)
            return self._processors(nothing, scores)  # type: ignore[arg-type]  # annotated for generate() alone
        # Processors take a rectangle of ids: nodes of one depth have histories of one length.
        processed = torch.empty_like(scores)
        histories = [self._history(node) for node in nodes]
        for length in dict.fromkeys(map(len, histories)):
            group = [at for at, history in enumerate(histories) if len(history) == length]
            ids = torch.tensor([histories[at] for at in group], dtype=torch.int64, device=self.raw.device)
            before = torch.cat([self._context.expand(len(group), -1), ids.view(len(group), length)], dim=1)
            processed[group] = self._processors(before, scores[group])  # type: ignore[arg-type]  # as above
        return processed

    def probabilities(self, node: int) -> Tensor:
        """Return the target's distribution after a node [V] float32.

        Raises:
            SpecframeError: a logit is NaN or infinite, or the processors rule out every token.
        """
        if node not in self._probabilities:
            self.prepare([node])
        return self._probabilities[node]

    def prepare(self, nodes: Sequence[int]) -> None:
        """Compute the distributions after several nodes together; raises as ``probabilities`` does."""
        wanted = [node for node in nodes if node not in self._probabilities]
        if wanted:
            distributions = torch.softmax(self.rows(wanted), dim=-1)
            # A NaN or +inf anywhere in a row, or nothing but -inf, makes all of its softmax NaN.
            for node, broken in zip(wanted, distributions[:, 0].isnan().tolist(), strict=True):
                if broken:
                    raise not_finite(int(self._tree.token_ids[node]))
            self._probabilities.update(zip(wanted, distributions, strict=True))

    def _history(self, node: int) -> list[int]:
        """Return the drafted tokens from below the root down to ``node``."""
        if self._lineage is None:
            tokens, parents = torch.stack([self._tree.token_ids, self._tree.parents]).tolist()
            self._lineage = tokens, parents
        tokens, parents = self._lineage
        history: list[int] = []
        while node > 0:
            history.append(tokens[node])
            node = parents[node]
        return history[::-1]


def not_finite(token_id: int) -> SpecframeError:
    """Return the error for logits after a token that no distribution can be made of."""
    return SpecframeError(
        f"the target returned logits that are NaN or infinite after token {token_id}; try --dtype float32"
    )


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

    def after(self, tree: DraftTree, raw: Tensor) -> TargetLogits:
        """Return the target's logits [N, V] after a tree whose root is the last emitted token."""
        context = None if self._ids is None else self._ids[: self._length]
        return TargetLogits(raw, tree, self._processors, context)


def logits_processors(config: RunConfig, custom: LogitsProcessorList | None = None) -> LogitsProcessorList:
    """Return a config's processors in the order of transformers' ``generate``.

    Args:
        config: its sampling parameters.
        custom: processors of the caller; they come after the repetition penalty and before the temperature.
    """
    processors = LogitsProcessorList()
    if config.repetition_penalty != 1.0:
        processors.append(logits_process.RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
    processors.extend(custom or ())
    if config.temperature == 0.0:
        return processors
    if config.temperature != 1.0:
        processors.append(logits_process.TemperatureLogitsWarper(config.temperature))
    if config.top_k:
        processors.append(logits_process.TopKLogitsWarper(config.top_k))
    if config.top_p < 1.0:
        processors.append(NucleusWarper(config.top_p))
    if config.min_p:
        processors.append(logits_process.MinPLogitsWarper(config.min_p))
    return processors

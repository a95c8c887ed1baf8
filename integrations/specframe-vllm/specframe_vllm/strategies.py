"""The strategy of an engine: one object for batches, or one for each request that runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs
import torch
from torch import Tensor

from specframe.contracts.protocols import VocabularyBuilder
from specframe.contracts.tree import DraftTree, Verdict


@attrs.frozen(slots=True, kw_only=True, eq=False)
class ReadPrompt:
    """A request whose prompt the target has read to its end.

    Attributes:
        request: its id.
        prompt_ids: the prompt, and after a preemption what was emitted before it [T] int64.
        topk_ids: the target's top ids after each of the last positions that this step computed, at most the
            strategy's window [P, k] int64; None when nothing was asked for.
        emitted_ids: its first token, -1 for none [D] int64.
    """

    request: str
    prompt_ids: Tensor
    topk_ids: Tensor | None
    emitted_ids: Tensor


@attrs.frozen(slots=True, kw_only=True, eq=False)
class TargetPasses:
    """Target passes of B requests over draft chains, N nodes in all.

    Attributes:
        requests: their ids.
        nodes: how many each has, its root included; they stand one after the other.
        node_ids: token of each node [N] int64.
        emitted_ids: what each request's pass emitted, -1 for none [B, D] int64.
        topk_ids: the target's top ids after each node [N, k] int64; None when nothing was asked for.
    """

    requests: list[str]
    nodes: list[int]
    node_ids: Tensor
    emitted_ids: Tensor
    topk_ids: Tensor | None


class Strategies(Protocol):
    """Turns what a step showed into ids to admit, request by request or for all at once."""

    def start(self, prompt: ReadPrompt) -> Tensor:
        """Return the ids to admit for a request that starts [n] int64; -1 stands for none."""
        ...

    def observe(self, passes: TargetPasses) -> list[Tensor]:
        """Return the ids to admit for each request of a step [n] int64; -1 stands for none."""
        ...

    def observe_together(self, passes: TargetPasses) -> Tensor:
        """Return the ids to admit for all requests of a step [n] int64; -1 stands for none."""
        ...

    def end(self, request: str) -> None:
        """Forget a request."""
        ...


class BatchedStrategy:
    """One object for all requests: the strategy keeps nothing of a request, and reads nothing on the host.

    Args:
        strategy: has ``takes_batches``.
    """

    def __init__(self, strategy: VocabularyBuilder) -> None:
        self._strategy = strategy

    def start(self, prompt: ReadPrompt) -> Tensor:
        """Return the ids to admit for a request that starts [n] int64."""
        nothing = prompt.prompt_ids[:0]
        started = ids_of(self._strategy.start(prompt.prompt_ids, prompt.topk_ids), nothing)
        return torch.cat([started, self._observe(nothing, prompt.emitted_ids, None)])

    def observe(self, passes: TargetPasses) -> list[Tensor]:
        """Return the ids to admit for each request of a step [n] int64."""
        node_ids = passes.node_ids.split(passes.nodes)
        topk_ids = [None] * len(node_ids) if passes.topk_ids is None else passes.topk_ids.split(passes.nodes)
        parts = zip(node_ids, passes.emitted_ids, topk_ids, strict=True)
        return [self._observe(*part) for part in parts]

    def observe_together(self, passes: TargetPasses) -> Tensor:
        """Return the ids to admit for all requests of a step [n] int64."""
        return self._observe(passes.node_ids, passes.emitted_ids.flatten(), passes.topk_ids)

    def end(self, request: str) -> None:
        """Do nothing: there is nothing to forget."""

    def _observe(self, node_ids: Tensor, emitted_ids: Tensor, topk_ids: Tensor | None) -> Tensor:
        return ids_of(self._strategy.observe_batch(node_ids, emitted_ids, topk_ids), node_ids)


class StrategyPerRequest:
    """An object for each request that runs, told of verdicts as specframe's engine tells it.

    A verdict is on the host, so every step waits for the device once.

    Args:
        make: returns a strategy; what it returned is used again for later requests.
    """

    def __init__(self, make: Callable[[], VocabularyBuilder]) -> None:
        self._make = make
        self._free: list[VocabularyBuilder] = []
        self._of: dict[str, VocabularyBuilder] = {}

    def start(self, prompt: ReadPrompt) -> Tensor:
        """Return the ids to admit for a request that starts [n] int64."""
        self.end(prompt.request)
        strategy = self._of[prompt.request] = self._free.pop() if self._free else self._make()
        return ids_of(strategy.start(prompt.prompt_ids, prompt.topk_ids), prompt.prompt_ids)

    def observe(self, passes: TargetPasses) -> list[Tensor]:
        """Return the ids to admit for each request of a step [n] int64."""
        node_ids = passes.node_ids.split(passes.nodes)
        topk_ids = [None] * len(node_ids) if passes.topk_ids is None else passes.topk_ids.split(passes.nodes)
        emitted = passes.emitted_ids.tolist()
        parts = zip(passes.requests, node_ids, emitted, topk_ids, strict=True)
        return [self._observe(*part) for part in parts]

    def observe_together(self, passes: TargetPasses) -> Tensor:
        """Return the ids to admit for all requests of a step [n] int64."""
        return torch.cat(self.observe(passes))

    def end(self, request: str) -> None:
        """Let another request have the object."""
        strategy = self._of.pop(request, None)
        if strategy is not None:
            self._free.append(strategy)

    def _observe(self, request: str, node_ids: Tensor, emitted: list[int], topk_ids: Tensor | None) -> Tensor:
        ids = [token for token in emitted if token >= 0]
        if not ids:  # no verdict: nothing came of the pass, and the strategy is told of none
            return node_ids[:0]
        *accepted, following = ids
        verdict = Verdict(
            path=tuple(range(len(accepted) + 1)),
            accepted_ids=tuple(accepted),
            next_token=following,
            path_ends_at_leaf=len(accepted) + 1 == len(node_ids),
        )
        return ids_of(self._of[request].observe(verdict, _chain(node_ids), topk_ids), node_ids)


def ids_of(returned: object, like: Tensor) -> Tensor:
    """Return the token ids that a strategy returned [n] int64.

    Args:
        returned: by the strategy.
        like: a tensor on the device of the engine.

    Raises:
        TypeError: it is anything else, which kernels would take for ids all the same.
    """
    if isinstance(returned, Tensor) and returned.dtype in (torch.int64, torch.int32) and returned.dim() == 1:
        if returned.device == like.device:
            return returned.long()
        found = f"token ids on {returned.device}"
    else:
        found = type(returned).__name__
        if isinstance(returned, Tensor):
            found = f"a tensor of {returned.dtype} of shape {list(returned.shape)}"
    raise TypeError(f"it returned {found}; allowed: a tensor of token ids [n] int64 on {like.device}")


def _chain(node_ids: Tensor) -> DraftTree:
    """Return the draft tree of a chain; vLLM keeps no probabilities of greedy drafts: they are NaN."""
    depths = torch.arange(len(node_ids), device=node_ids.device)
    log_probs = torch.full((len(node_ids),), torch.nan, device=node_ids.device)
    log_probs[:1] = 0.0
    return DraftTree(node_ids, depths - 1, depths, log_probs)

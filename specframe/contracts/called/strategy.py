"""A vocabulary strategy as the engine calls it."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from specframe.contracts.called.members import check_members, read, read_flag, read_number
from specframe.contracts.called.screen import CalledScreen
from specframe.contracts.faults import Owner
from specframe.contracts.kinds import Eviction
from specframe.contracts.protocols import VocabularyBuilder
from specframe.contracts.tree import DraftTree, Verdict

_ID_DTYPES = (torch.int64, torch.int32)


class CalledStrategy(VocabularyBuilder):
    """Calls a vocabulary strategy, whose declarations were read when it was wrapped.

    Args:
        strategy: is called.
        owner: whose it is.

    Raises:
        ComponentError: it cannot be called, or something that it declares is not allowed.
    """

    def __init__(self, strategy: VocabularyBuilder, owner: Owner) -> None:
        contract = VocabularyBuilder
        check_members(owner, strategy, contract)
        self.component, self.owner = strategy, owner
        self.capacity = read(owner, strategy, "capacity", contract)
        if self.capacity is not None and (type(self.capacity) is not int or self.capacity < 0):
            raise owner.fault(
                f"has the capacity {self.capacity!r}; allowed: a whole number, 0 or more, or None"
            )
        self.pinned_ids = read(owner, strategy, "pinned_ids", contract)
        wrong = _no_ids(self.pinned_ids)
        if wrong is not None:
            raise owner.fault(f"has {wrong} as its pinned_ids; allowed: a tensor of token ids [n] int64")
        screen = read(owner, strategy, "screen", contract)
        self.screen = None if screen is None else CalledScreen.of(screen, owner)
        self.harvest_topk = read_number(owner, strategy, "harvest_topk", contract)
        self.prompt_window = read_number(owner, strategy, "prompt_window", contract)
        self.eviction = read(owner, strategy, "eviction", contract)
        if self.eviction not in (known := get_args(Eviction)):
            raise owner.fault(f"has the eviction {self.eviction!r}; allowed: {', '.join(known)}")
        self.keeps_active_set = read_flag(owner, strategy, "keeps_active_set", contract)
        self.takes_batches = read_flag(owner, strategy, "takes_batches", contract)
        self._in_start, self._in_observe = owner.blame("start()"), owner.blame("observe()")
        self._in_batch = owner.blame("observe_batch()")

    @classmethod
    def of(cls, strategy: VocabularyBuilder) -> CalledStrategy:
        """Return a strategy as it is called, whether it is wrapped already or not."""
        if isinstance(strategy, cls):
            return strategy
        return cls(strategy, Owner("vocabulary", type(strategy).__name__))

    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Tensor:
        """Begin a request and return the ids to admit [n]."""
        with self._in_start:
            ids = self.component.start(prompt_ids, target_topk_ids)
        return self._ids(ids, "start")

    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Tensor:
        """Learn from one target pass and return the ids to admit [n]."""
        with self._in_observe:
            ids = self.component.observe(verdict, tree, target_topk_ids)
        return self._ids(ids, "observe")

    def observe_batch(self, node_ids: Tensor, emitted_ids: Tensor, target_topk_ids: Tensor | None) -> Tensor:
        """Learn from target passes of several requests and return the ids to admit [n]."""
        with self._in_batch:
            ids = self.component.observe_batch(node_ids, emitted_ids, target_topk_ids)
        return self._ids(ids, "observe_batch")

    def _ids(self, returned: Tensor, method: str) -> Tensor:
        wrong = _no_ids(returned)
        if wrong is not None:
            raise self.owner.fault(
                f"returned {wrong} from {method}(); allowed: a tensor of token ids [n] int64"
            )
        return returned


def _no_ids(given: object) -> str | None:
    """Return what something is that is no tensor of ids [n], or None."""
    if not isinstance(given, Tensor):
        return f"a {type(given).__name__}"
    if given.dtype not in _ID_DTYPES:
        return f"a tensor of {given.dtype}"
    if given.dim() != 1:
        return f"a tensor {list(given.shape)}"
    if given.layout != torch.strided or given.is_meta:
        return f"a tensor without values, {given.layout} on {given.device}"
    return None

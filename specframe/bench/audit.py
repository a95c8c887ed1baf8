"""Who reads the LM head while drafting, seen from below: what is active is checked, not believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from specframe.contracts.clock import Phase, PhaseClock
from specframe.contracts.lm_head import OutputHead
from specframe.engine.engine import Engine

# The target reads its own head here, and the drafter reads the prompt.
_PHASES_OF_THE_TARGET: tuple[Phase, ...] = ("prefill", "target_pass")

_LOOKUPS = {
    torch.ops.aten.embedding.default,
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_select.default,
    torch.ops.aten.gather.default,
}
# They take a tensor for its dtype and device alone.
_LIKE = {torch.ops.aten.new_empty.default, torch.ops.aten.new_zeros.default}


@attrs.frozen(slots=True)
class HeadRead:
    """The largest read of LM-head rows by one operation between two laps of the clock.

    Attributes:
        step: index of the target pass it prepares.
        phase: during which it happened.
        rows: of the LM head.
    """

    step: int
    phase: Phase
    rows: int


class _HeadReads(TorchDispatchMode):
    """Notes how many LM-head rows each PyTorch operation reads: of the head itself, or of a copy of it."""

    def __init__(self, head: OutputHead) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch annotates only part of this class
        self.largest = 0
        self._storage = head.weight.untyped_storage().data_ptr()
        self._hidden_size = head.hidden_size
        self._size = {head.vocab_size, head.hidden_size}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.is_view or func in _LIKE:
            return result
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if any(self._is_head(tensor) for tensor in inputs):
            read = [result] if func in _LOOKUPS else [tensor for tensor in inputs if self._is_head(tensor)]
            self.largest = max(self.largest, *(tensor.numel() // self._hidden_size for tensor in read))
        return result

    def _is_head(self, tensor: Tensor) -> bool:
        # A copy of the whole head is found by its size; the transposed one too.
        if tensor.dim() == 2 and set(tensor.shape) == self._size:
            return True
        return tensor.layout == torch.strided and tensor.untyped_storage().data_ptr() == self._storage


class _AuditClock(PhaseClock):
    """Tells at every lap which phase has just ended."""

    def __init__(self, ended: Callable[[Phase], None]) -> None:
        super().__init__()
        self._ended = ended

    def lap(self, phase: Phase) -> None:
        """Attribute what happened since the last lap to ``phase``."""
        super().lap(phase)
        self._ended(phase)


def head_reads(engine: Engine, head: OutputHead, prompt_ids: Tensor, max_new_tokens: int) -> list[HeadRead]:
    """Generate and return what was read of the LM head outside of the target's own passes.

    Only PyTorch operations are seen: kernels that are launched past PyTorch's dispatcher are not.

    Args:
        engine: generates; its ``steps`` are then those of this generation.
        head: the drafter's LM head.
        prompt_ids: [T] int64.
        max_new_tokens: length limit.
    """
    reads: list[HeadRead] = []
    step = 0
    mode = _HeadReads(head)

    def ended(phase: Phase) -> None:
        nonlocal step
        if phase not in _PHASES_OF_THE_TARGET and mode.largest:
            reads.append(HeadRead(step, phase, mode.largest))
        mode.largest = 0
        step += phase == "target_pass"

    usual = engine.clock
    engine.clock = _AuditClock(ended)
    try:
        with mode:
            engine.generate(prompt_ids, max_new_tokens)
    finally:
        engine.clock = usual
    return reads

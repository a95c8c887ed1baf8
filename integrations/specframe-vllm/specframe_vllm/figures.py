"""How well the active sets do, counted on the device, and brought to the host without waiting for it."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from specframe.vocabulary.store import VocabularyStore
from specframe_vllm.parallel import sum_of_ranks


@attrs.frozen(slots=True)
class Figures:
    """What was counted since the engine started.

    Attributes:
        passes: target passes over a draft, one for each request of a step.
        emitted: tokens that they emitted.
        covered: those that were active when their step was drafted.
        oov_rejections: passes that ended because the target's token was not active.
        active: tokens that were active, summed over the passes.
    """

    passes: int = 0
    emitted: int = 0
    covered: int = 0
    oov_rejections: int = 0
    active: int = 0


class FigureCounter:
    """Counts on the device.

    Args:
        device: where the engine runs.
        ranks: how many hold a part of the active set.
        screened: candidates that a screen finds for each state. Which they were is not kept, so that with a
            screen every token counts as covered.
    """

    def __init__(self, device: torch.device, ranks: int = 1, screened: int = 0) -> None:
        self._ranks, self._screened = ranks, screened
        self._totals = torch.zeros(5, dtype=torch.int64, device=device)
        self._copied: Tensor | None = None
        self._event: torch.cuda.Event | None = None
        if device.type == "cuda":  # ROCm devices are called so too
            self._copied = torch.zeros(5, dtype=torch.int64, pin_memory=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def count(self, stores: Sequence[VocabularyStore], nodes: Tensor, emitted_ids: Tensor) -> None:
        """Count target passes over a draft, before their tokens are admitted.

        A pass of one node had none.

        Args:
            stores: the active set that each was drafted from; or one, for all of them.
            nodes: how many nodes each pass had [B] int64.
            emitted_ids: [B, D] int64, -1 for none.
        """
        drafted = nodes > 1
        there = (emitted_ids >= 0) & drafted[:, None]
        # One active set is asked once for all, since that costs a few operations each time.
        parts = emitted_ids.clamp(min=0).view(len(stores), -1)
        covered = torch.cat([store.contains(ids) for store, ids in zip(stores, parts, strict=True)]).long()
        active = torch.stack([store.active_size for store in stores]) + self._screened
        if self._screened:
            covered = torch.ones_like(covered)
        if self._ranks > 1:  # each token has its row on one of them
            together = sum_of_ranks(torch.cat([covered, active]))
            covered, active = together.split([len(covered), len(active)])
        covered = covered.view_as(there) * there
        lengths = there.sum(dim=1)
        last = covered.gather(1, (lengths - 1).clamp(min=0)[:, None])[:, 0]
        # A pass that emits as many tokens as it had nodes accepted them all.
        ended = drafted & (lengths < nodes) & (last == 0)
        sums = [drafted.sum(), lengths.sum(), covered.sum(), ended.sum(), (active * drafted).sum()]
        self._totals += torch.stack(sums)

    def latest(self) -> Figures | None:
        """Return what is known on the host, or None where the device has not brought it yet."""
        if self._copied is None or self._event is None:
            return Figures(*self._totals.tolist())
        if not self._event.query():
            return None
        found = Figures(*self._copied.tolist())
        self._copied.copy_(self._totals, non_blocking=True)
        self._event.record()
        return found

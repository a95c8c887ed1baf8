"""Print how often screens find what the whole LM head would draft, on hidden states they were not fitted to.

    python benchmarks/screen_recall.py MODEL

A screen is fitted to three quarters of the states of ``specframe.engine.draft_states``, stretch by stretch,
and asked about the rest. Nothing is timed.
"""

from __future__ import annotations

import sys

import attrs
import torch
from torch import Tensor

from specframe.config import RunConfig
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.screen import Screen
from specframe.engine.assembly import build_engine
from specframe.engine.drafting.active import ActiveDrafting
from specframe.ops.tables import print_table
from specframe_plugins.vocabularies.clusters import ClusterScreen
from specframe_plugins.vocabularies.lowrank import LowRankScreen

_STRETCH = 150
_AT_ONCE = 50


@attrs.frozen
class _Part:
    """Some of the states, as a ``StateSource``."""

    states: Tensor
    key: str

    def sample(self, count: int) -> Tensor:
        return self.states[:count]


def recall(screen: Screen, states: Tensor, best: Tensor) -> tuple[float, float]:
    """Return which share of the first, and of the first four choices [n, 4] are candidates."""
    found = torch.cat([screen.screen(part).rows for part in states.split(_AT_ONCE)])
    hit = (best[:, :, None] == found[:, None, :]).any(dim=-1).float()
    return hit[:, 0].mean().item(), hit.mean().item()


def rows_of(head: OutputHead, states: Tensor, key: str) -> list[list[str]]:
    """Return a line for each screen."""
    held_out = torch.arange(len(states)) // _STRETCH % 4 == 3
    fit, test = _Part(states[~held_out], f"{key}-fit"), states[held_out].to(head.dtype)
    best = torch.cat([head.logits(part).topk(4).indices for part in test.split(_AT_ONCE)])
    screens: list[tuple[str, int, Screen]] = [
        (f"lowrank:rank={rank},rows={rows},candidates={width}", rank * rows, LowRankScreen(rank, width, rows))
        for rank in (32, 64, 128)
        for rows in (4096, 8192, 16384, head.vocab_size)
        for width in (64, 128, 256)
    ]
    screens += [
        (
            f"clusters:groups={groups},size={size}",
            16384 // size * head.hidden_size,
            ClusterScreen(groups, size),
        )
        for size in (16, 32, 64)
        for groups in (8, 16, 32)
    ]
    found = []
    for name, numbers, screen in screens:
        screen.bind(head, fit)
        first, four = recall(screen, test, best)
        read = numbers + screen.width * head.hidden_size
        found.append([name, f"{first:.3f}", f"{four:.3f}", f"{read / head.hidden_size:,.0f}"])
    return found


def main() -> None:
    """Print a line for each screen: recall, and what it reads for one state, in rows of the LM head."""
    torch.set_grad_enabled(False)
    engine = build_engine(
        RunConfig(model=sys.argv[1], strategy="full", drafter="eagle", dtype="float32", costs="off")
    )
    drafting = engine.drafting
    assert isinstance(drafting, ActiveDrafting)
    states = engine.states
    assert states is not None
    lines = rows_of(drafting.drafter.output_head, states.sample(4096), states.key)
    print_table(lines, ("screen", "first choice", "first four", "reads, in rows of the head"))


if __name__ == "__main__":
    main()

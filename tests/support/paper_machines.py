"""Machines on paper: what a test says that the parts of a step cost, in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from specframe.costs.curve import Curve
from specframe.costs.model import CostModel, Setup
from specframe.ops.machine import Machine

SETUP = Setup(
    model="paper",
    size="L=3, H=64, V=101",
    dtype="float32",
    device="cpu",
    forward="lean",
    drafter="eagle",
    draft="8 levels, 4 wide, 32 nodes",
    gather="torch",
)
MACHINE = Machine(processor="paper", instructions="AVX2", threads=2, pytorch="2.13.0", specframe="0.1.0")

# A target pass by nodes: weights are read once and arithmetic is nearly free; it is not; every node is
# another pass.
FLAT: Mapping[int, float] = {1: 20.0, 32: 22.0}
SLOPED: Mapping[int, float] = {1: 20.0, 8: 24.0, 16: 34.0, 32: 60.0}
IN_PROPORTION: Mapping[int, float] = {1: 20.0, 32: 640.0}


def ms(by_size: Mapping[int, float] | float) -> Curve:
    """Return a curve from milliseconds by size, or the same everywhere."""
    pairs = by_size if isinstance(by_size, Mapping) else {1: by_size}
    return Curve.of({size: value / 1000 for size, value in pairs.items()})


def paper_costs(
    nodes: Mapping[int, float] = SLOPED,
    *,
    draft: float = 1.0,
    level: Mapping[int, float] | float = 1.0,
    head: Mapping[int, float] | float = 0.5,
    wide_head: Mapping[int, float] | float | None = None,
    whole: Mapping[int, float] | float = 8.0,
    skip: float = 0.5,
    width: int = 4,
    context: Mapping[int, float] | float = 0.0,
) -> CostModel:
    """Return the costs of a machine on paper, all in milliseconds.

    Args:
        nodes: of a target pass by nodes, with 32 tokens of context.
        draft: of a draft's first level, without the head.
        level: of each further one by its nodes.
        head: of a head call for one hidden state, by active rows.
        wide_head: the same for ``width`` states; by default what one costs.
        whole: over the full vocabulary, by states.
        skip: of reading what was emitted.
        width: of the widest level.
        context: what one more token adds to a pass, by nodes.
    """
    return CostModel(
        setup=SETUP,
        machine=MACHINE,
        pass_s=ms(nodes),
        context=32,
        context_s=ms(context),
        draft_s=draft / 1000,
        level_s=ms(level),
        head_s=ms(head),
        wide_head_s=ms(head if wide_head is None else wide_head),
        width=width,
        whole_s=ms(whole),
        skip_s=skip / 1000,
    )


def costs_for(costs: CostModel, setup: Setup, width: int) -> CostModel:
    """Return costs as if they had been measured of another setup."""
    return attrs.evolve(costs, setup=setup, width=width)

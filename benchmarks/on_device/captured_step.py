"""Part *graph*: a draft step that is captured once and replayed drafts what the eager step drafts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Literal

import attrs
import torch
from torch import Tensor

from on_device.parts import Row, Setup
from on_device.random_drafting import GATHERS, RandomPasses, Strategy, Weights, make_drafting
from specframe.bench.report.traffic import Model
from specframe.contracts.tree import DraftTree
from specframe.ops.graphs import CapturedSteps
from specframe_plugins.trees.shape import TreeShape

Comparison = Literal["equal", "tied", "different"]

# Sums of log-probabilities along a path, in the drafter's dtype.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}


@attrs.frozen
class _Sizes:
    """How much is compared: the first prompt is short, the last one makes the drafter's cache move."""

    model: Model
    shape: TreeShape
    active: int
    prompts: tuple[int, ...]
    steps: int
    dtypes: tuple[torch.dtype, ...]


_ON_A_DEVICE = _Sizes(
    Model("", 4096, 512, 1024, 8, 2, 64, 1),
    TreeShape(depth=6, branching=10, nodes=60),
    512,
    (20, 700, 1500),
    25,
    (torch.float32, torch.bfloat16),
)
_MINIATURE = _Sizes(
    Model("", 101, 64, 96, 4, 2, 16, 1),
    TreeShape(depth=3, branching=3, nodes=8),
    40,
    (5, 20),
    2,
    (torch.float32,),
)
_STRATEGIES: tuple[Strategy, ...] = ("nanospec", "full")


def check(setup: Setup) -> Iterator[Row]:
    """Compare both kinds of steps over every gather backend."""
    sizes = _MINIATURE if setup.miniature else _ON_A_DEVICE
    for dtype in sizes.dtypes:
        weights = Weights.random(sizes.model, setup.device, dtype)
        for strategy in _STRATEGIES:
            for gather in GATHERS:
                what = f"{strategy} over {gather}, {str(dtype).removeprefix('torch.')}"
                yield Row.of(what, partial(_compared, what, weights, strategy, gather, dtype, sizes, setup))
    if setup.miniature:
        yield Row("capture and replay", None, "no GPU: both steps of a comparison were eager ones")


def _compared(
    what: str,
    weights: Weights,
    strategy: Strategy,
    gather: str,
    dtype: torch.dtype,
    sizes: _Sizes,
    setup: Setup,
) -> Row:
    graphs = EagerSteps() if setup.miniature else CountedSteps(torch.device(setup.device))
    captured, eager = (
        make_drafting(weights, strategy, sizes.active, GATHERS[gather](), sizes.shape, steps)
        for steps in (graphs, None)
    )
    found: list[Comparison] = []
    for seed, prompt_tokens in enumerate(sizes.prompts):
        requests = [RandomPasses(one, weights, seed, prompt_tokens) for one in (captured, eager)]
        for _ in range(sizes.steps):
            one, other = (request.step() for request in requests)
            found.append(compare(one, other, TOLERANCE[dtype]))
            if found[-1] != "equal":
                break  # their contexts may differ from here on
    counts = {kind: found.count(kind) for kind in ("equal", "tied", "different")}
    said = f"{counts['equal']} trees equal, {counts['different']} different"
    said += f", {counts['tied']} parted at a tie" if counts["tied"] else ""
    said += f"; {graphs.captures} captures, {graphs.replays} replays" if not setup.miniature else ""
    figures = {**counts, "captures": graphs.captures, "replays": graphs.replays}
    replayed = setup.miniature or graphs.replays == len(found)
    return Row(what, not counts["different"] and replayed, said, figures)


def compare(one: DraftTree, other: DraftTree, tolerance: float) -> Comparison:
    """Return whether two trees are equal up to rounding.

    Nodes come by falling probability of their path. Where rounding exchanges two of them, the trees part at a
    node that is as likely in one as in the other.
    """
    if len(one) != len(other):
        return "different"
    likely = [_path_scores(tree) for tree in (one, other)]
    near = (likely[0] - likely[1]).abs() <= tolerance
    same = near.clone()
    for name in ("token_ids", "parents", "depths"):
        same &= (getattr(one, name) == getattr(other, name)).cpu()
    if same.all():
        return "equal"
    first = int((~same).nonzero()[0])
    return "tied" if near[first] else "different"


def _path_scores(tree: DraftTree) -> Tensor:
    """Return the log-probability of the path to each node [N] float64, on the host."""
    scores: list[float] = []
    for parent, log_prob in zip(tree.parents.tolist(), tree.log_probs.tolist(), strict=True):
        scores.append(log_prob + (scores[parent] if parent >= 0 else 0.0))
    return torch.tensor(scores, dtype=torch.float64)


class CountedSteps(CapturedSteps):
    """Counts captures and replays."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.captures = self.replays = 0
        self._keys: set[Hashable] = set()

    def run(self, key: Hashable, step: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Capture or replay."""
        self.captures += key not in self._keys
        self.replays += 1
        self._keys.add(key)
        return super().run(key, step)

    def forget(self) -> None:
        """Drop all captures."""
        self._keys.clear()
        super().forget()


class EagerSteps(CapturedSteps):
    """Stands in where nothing can be captured: runs the step."""

    captures = replays = 0

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))

    def run(self, key: Hashable, step: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Run the step."""
        return tuple(output.clone() for output in step())

"""Strategy ``clusters``: groups of similar rows of the LM head, the best of them for each hidden state.

Sources: learning to screen (Chen et al., ICLR 2019) and DynaSpec (arXiv 2510.13847), which trains a router
over token clusters. Here nothing is trained by descent: groups come from the LM head in the metric of the
drafter's hidden states, and the router is the least-squares fit, in closed form, of what the logits of a
group add up to.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.screen import Candidates, Screen, StateSource
from specframe.ops.packed_linear import PackedLinear
from specframe.registry.components import BuildContext
from specframe_plugins.vocabularies.components.clusters import ClusterOptions
from specframe_plugins.vocabularies.screen_alone import ScreenAlone
from specframe_plugins.vocabularies.state_metric import StateMetric, screened_rows

# Rows are compared, and their logits estimated for the fit, in so many coordinates.
_COORDINATES = 64
_STATES, _STATES_AT_ONCE = 4096, 128
# Of the mean of the second moment's diagonal, for the fit.
_RIDGE = 1e-2


class ClusterScreen(Screen):
    """Takes the rows of the groups with the largest scores.

    Args:
        groups: m, how many groups each state gets.
        size: rows of a group.
        rows: how many rows of the LM head are grouped; None for as many as ``lowrank`` screens.
    """

    def __init__(self, groups: int, size: int, rows: int | None = None) -> None:
        self._best, self._size, self._wanted = groups, size, rows
        self.width = groups * size

    def bind(self, head: OutputHead, states: StateSource) -> None:
        """Group the rows, and fit the router to the states.

        Raises:
            UsageError: fewer rows are to be grouped than there are candidates, or more than there are.
        """
        rows = screened_rows(self._wanted, self.width, head)
        metric = StateMetric.of(head, states)
        likely = metric.order[:rows].to(head.device)
        down, up = metric.factors(head, min(_COORDINATES, head.hidden_size), likely)
        parts = grouped(up.float(), self._size)
        groups = math.ceil(rows / self._size)
        self._rows = torch.full((groups * self._size,), -1, device=head.device)
        self._rows[:rows] = likely[parts]
        self._rows = self._rows.view(groups, self._size)
        bias = None if head.bias is None else head.bias.detach()[likely].float()
        sample = states.sample(_STATES).to(head.device)
        totals = []
        for some in sample.split(_STATES_AT_ONCE):
            estimates = torch.nn.functional.linear(some @ down.float(), up.float(), bias)
            padding = (0, self._rows.numel() - rows)
            padded = torch.nn.functional.pad(head.finish(estimates[:, parts]), padding, value=-torch.inf)
            totals.append(padded.view(len(some), groups, self._size).logsumexp(dim=-1))
        weight, offset = fitted(sample, torch.cat(totals))
        self._router = PackedLinear(weight.to(head.dtype), offset.to(head.dtype))

    def screen(self, hidden: Tensor) -> Candidates:
        """Return the rows of the best groups [N, C]; the last group may have fewer, and -1 for the rest."""
        best = self._router(hidden).topk(self._best, dim=-1, sorted=False).indices
        return Candidates(self._rows[best].flatten(1))

    def held(self) -> tuple[Tensor, ...]:
        """Return the router, and which rows are in which group."""
        return (*self._router.tensors, self._rows)


def grouped(points: Tensor, size: int) -> Tensor:
    """Return an order of the points in which each ``size`` that follow each other are near [P] int64.

    The points are halved across the direction in which they lie furthest apart, and the halves likewise, so
    that all groups but the last have the same size.

    Args:
        points: [P, D] float32.
        size: of a group.
    """

    def halved(index: Tensor) -> list[Tensor]:
        groups = math.ceil(len(index) / size)
        if groups <= 1:
            return [index]
        centred = points[index] - points[index].mean(dim=0)
        direction = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
        ordered = index[(centred @ direction).argsort()]
        middle = groups // 2 * size
        return [*halved(ordered[:middle]), *halved(ordered[middle:])]

    return torch.cat(halved(torch.arange(len(points), device=points.device)))


def fitted(states: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weight [G, H] and offset [G] of ``states @ weight.T + offset`` nearest to what is wanted.

    Args:
        states: [n, H] float32.
        wanted: [n, G] float32.
    """
    middle, goal = states.double().mean(dim=0), wanted.double().mean(dim=0)
    centred = states.double() - middle
    moment = centred.T @ centred / len(states)
    moment.diagonal().add_(_RIDGE * moment.diagonal().mean())
    weight = torch.linalg.solve(moment, centred.T @ (wanted.double() - goal) / len(states)).T
    return weight.float(), (goal - weight @ middle).float()


def build(options: ClusterOptions, context: BuildContext) -> ScreenAlone:
    """Return the strategy for a target."""
    return ScreenAlone(ClusterScreen(options.groups, options.size, options.rows))

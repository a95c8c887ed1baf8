"""Print how often screens find what the whole LM head would draft, on hidden states they were not fitted to.

    python benchmarks/screen_recall.py MODEL

A screen is fitted to three quarters of the states of ``specframe.engine.draft_states``, stretch by stretch,
and asked about the rest. Nothing is timed. Beside `clusters` are the same groups with other routers: two that
know the logits, which is what no router of any kind can beat, and one that is trained by descent.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from specframe.config import RunConfig
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import lm_head_of
from specframe.contracts.screen import Candidates, Screen, StateSource
from specframe.engine.assembly import build_engine
from specframe.engine.draft_states import SomeStates, held_out
from specframe.engine.drafting.active import ActiveDrafting
from specframe.ops.tables import print_table
from specframe.vocabulary.recall import Recall, best_rows
from specframe_plugins.vocabularies.clusters import ClusterScreen
from specframe_plugins.vocabularies.lowrank import LowRankScreen

_GROUPED = 16384
_STATES, _AT_ONCE = 4096, 128
_EPOCHS, _RATE = 20, 1e-4


class KnowingClusters(ClusterScreen):
    """`clusters` with a router that computes every logit.

    Args:
        groups: that each state gets.
        size: rows of a group.
        by_sum: groups are ranked by the log-sum-exp of their logits; or else by the largest.
    """

    def __init__(self, groups: int, size: int, *, by_sum: bool) -> None:
        super().__init__(groups, size)
        self._by_sum = by_sum

    def bind(self, head: OutputHead, states: StateSource) -> None:
        """Group the rows as `clusters` does."""
        super().bind(head, states)
        self._head, self._weight = head, head.rows(self._rows.flatten().clamp(min=0)).float()

    def screen(self, hidden: Tensor) -> Candidates:
        """Return the rows of the best groups [N, C]."""
        logits = self.logits(hidden)
        scores = logits.logsumexp(dim=-1) if self._by_sum else logits.amax(dim=-1)
        best = scores.topk(self._best, dim=-1, sorted=False).indices
        return Candidates(self._rows[best].flatten(1))

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of every group [N, G, size], -inf where it has no row."""
        raw = hidden.float() @ self._weight.T
        if self._head.bias is not None:
            raw += self._head.bias.float()[self._rows.flatten().clamp(min=0)]
        found = self._head.finish(raw).view(len(hidden), *self._rows.shape)
        return found.masked_fill(self._rows < 0, -torch.inf)


class TrainedClusters(KnowingClusters):
    """`clusters` with its router trained on, by descent, to predict each group's probability."""

    def __init__(self, groups: int, size: int) -> None:
        super().__init__(groups, size, by_sum=True)

    def bind(self, head: OutputHead, states: StateSource) -> None:
        """Group the rows, and train the router; what is best on some states that are held out stays."""
        super().bind(head, states)
        fit, apart = held_out(states.sample(_STATES))
        wanted, wanted_apart = (
            torch.cat([self.logits(part).logsumexp(dim=-1).softmax(dim=-1) for part in some.split(_AT_ONCE)])
            for some in (fit, apart)
        )
        self._middle, self._scale = fit.mean(dim=0), fit.std(dim=0).clamp(min=1e-6)
        with torch.enable_grad():
            self._layer = self._closed_form(fit.shape[1], wanted.shape[1])
            best, least = self._layer.state_dict(), float("inf")
            optimizer = torch.optim.Adam(self._layer.parameters(), lr=_RATE)
            for _ in range(_EPOCHS):
                now = self._loss(apart, wanted_apart).item()
                if now < least:
                    least = now
                    best = {name: one.clone() for name, one in self._layer.state_dict().items()}
                for part in torch.randperm(len(fit)).split(_AT_ONCE):
                    optimizer.zero_grad()
                    self._loss(fit[part], wanted[part]).backward()
                    optimizer.step()
        self._layer.load_state_dict(best)

    def screen(self, hidden: Tensor) -> Candidates:
        """Return the rows of the best groups [N, C]."""
        best = self._scores(hidden.float()).topk(self._best, dim=-1, sorted=False).indices
        return Candidates(self._rows[best].flatten(1))

    @torch.no_grad()
    def _closed_form(self, columns: int, groups: int) -> torch.nn.Linear:
        """Return the router of `clusters` for states whose columns are shifted and scaled."""
        offset = self._router(self._middle[None])[0]
        layer = torch.nn.Linear(columns, groups)
        layer.weight.copy_((self._router(self._middle + self._scale.diag()) - offset).T)
        layer.bias.copy_(offset)
        return layer

    def _scores(self, states: Tensor) -> Tensor:
        scores: Tensor = self._layer((states - self._middle) / self._scale)
        return scores

    def _loss(self, states: Tensor, wanted: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(self._scores(states), wanted)


def rows_of(head: OutputHead, states: Tensor, key: str) -> list[list[str]]:
    """Return a line for each screen."""
    fit, test = held_out(states)
    source, test = SomeStates(fit, f"{key}-fit"), test.to(head.dtype)
    best = best_rows(head, test)
    screens: list[tuple[str, int, Screen]] = [
        (f"lowrank:rank={rank},rows={rows},candidates={width}", rank * rows, LowRankScreen(rank, width, rows))
        for rank in (32, 64, 128)
        for rows in (4096, 8192, 16384, head.vocab_size)
        for width in (64, 128, 256)
    ]
    for size in (16, 32, 64):
        for groups in (8, 16, 32):
            routers: dict[str, Screen] = {
                "": ClusterScreen(groups, size),
                ", trained router": TrainedClusters(groups, size),
                ", true log-sum-exp": KnowingClusters(groups, size, by_sum=True),
                ", true maximum": KnowingClusters(groups, size, by_sum=False),
            }
            name, numbers = f"clusters:groups={groups},size={size}", _GROUPED // size * head.hidden_size
            screens += [(name + router, numbers, screen) for router, screen in routers.items()]
    found = []
    for name, numbers, screen in screens:
        torch.manual_seed(0)
        screen.bind(head, source)
        recall = Recall.of(screen, test, best)
        read = numbers + screen.width * head.hidden_size
        found.append([name, f"{recall.first:.3f}", f"{recall.few:.3f}", f"{read / head.hidden_size:,.0f}"])
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
    lines = rows_of(lm_head_of(drafting.drafter), states.sample(_STATES), states.key)
    print_table(lines, ("screen", "first choice", "first four", "reads, in rows of the head"))


if __name__ == "__main__":
    main()

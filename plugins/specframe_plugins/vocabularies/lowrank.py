"""Strategy ``lowrank``: candidates by a truncated SVD of the LM head, chosen for each hidden state.

Source: SVD-softmax (Shim et al., NIPS 2017). The decomposition is one in the metric of the drafter's hidden
states: it keeps what matters for the logits of states that occur.
"""

from __future__ import annotations

import attrs
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.options import option
from specframe.contracts.screen import Candidates, Screen, StateSource
from specframe.errors import UsageError
from specframe.ops.packed_linear import PackedLinear
from specframe.ops.row_maxima import top_columns
from specframe.registry.components import BuildContext, Component
from specframe_plugins.vocabularies.screen_alone import ScreenAlone
from specframe_plugins.vocabularies.state_metric import SCREENED_ROWS, StateMetric, screened_rows


@attrs.frozen(slots=True)
class LowRankOptions:
    """Options of ``lowrank``."""

    rank: int = option(
        64, help="columns of the screen, at most H", unit="columns", minimum=1, tune=(16, 32, 64, 128)
    )
    candidates: int = option(
        256, help="rows computed exactly", unit="rows", minimum=1, tune=(64, 128, 256, 512)
    )
    rows: int | None = option(
        None,
        help=f"rows that are screened, the likeliest on built-in prompts; none: {SCREENED_ROWS} at most",
        unit="rows",
        minimum=1,
        tune=(4096, 8192, 16384, 32768),
    )


class LowRankScreen(Screen):
    """Estimates logits as ``(h @ down) @ up.T`` and takes the largest.

    Args:
        rank: r, columns of ``up``.
        width: candidates of each state.
        rows: how many rows of the LM head are screened; None for ``SCREENED_ROWS`` at most.
    """

    def __init__(self, rank: int, width: int, rows: int | None = None) -> None:
        self._rank, self.width, self._wanted = rank, width, rows

    def bind(self, head: OutputHead, states: StateSource) -> None:
        """Decompose the head in the metric of the states.

        Raises:
            UsageError: the rank is above H, the rows are above V, or fewer than candidates.
        """
        if self._rank > head.hidden_size:
            raise UsageError(
                f"rank {self._rank} is above the {head.hidden_size} columns of the LM head; allowed: 1 to "
                f"{head.hidden_size}"
            )
        rows = screened_rows(self._wanted, self.width, head)
        metric = StateMetric.of(head, states)
        screened = None if rows == head.vocab_size else metric.order[:rows].to(head.device)
        self._down, up = metric.factors(head, self._rank, screened)
        bias = head.bias if head.bias is None or screened is None else head.bias.detach()[screened]
        self._up, self._rows = PackedLinear(up, bias), screened

    def screen(self, hidden: Tensor) -> Candidates:
        """Return the rows of the largest estimates [N, C]."""
        columns = top_columns(self._up(hidden @ self._down), self.width)
        return Candidates(columns if self._rows is None else self._rows[columns])

    def held(self) -> tuple[Tensor, ...]:
        """Return the two factors, and which rows are screened."""
        rows = () if self._rows is None else (self._rows,)
        return (*self._up.tensors, self._down, *rows)


def _build(options: LowRankOptions, context: BuildContext) -> ScreenAlone:
    return ScreenAlone(LowRankScreen(options.rank, options.candidates, options.rows))


COMPONENT = Component(
    name="lowrank",
    summary="candidates of a low-rank estimate of all logits, for each hidden state",
    options=LowRankOptions,
    factory=_build,
)

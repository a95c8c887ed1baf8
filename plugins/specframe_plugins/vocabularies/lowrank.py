"""Strategy ``lowrank``: candidates by a truncated SVD of the LM head, chosen for each hidden state.

Source: SVD-softmax (Shim et al., NIPS 2017). The decomposition is one in the metric of the drafter's hidden
states: it keeps what matters for the logits of states that occur.
"""

from __future__ import annotations

from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.screen import Candidates, Screen, StateSource
from specframe.errors import UsageError
from specframe.ops.packed_linear import PackedLinear
from specframe.ops.row_maxima import top_columns
from specframe.registry.components import BuildContext
from specframe_plugins.vocabularies.components.lowrank import LowRankOptions
from specframe_plugins.vocabularies.screen_alone import ScreenAlone
from specframe_plugins.vocabularies.state_metric import StateMetric, screened_rows


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


def build(options: LowRankOptions, context: BuildContext) -> ScreenAlone:
    """Return the strategy for a target."""
    return ScreenAlone(LowRankScreen(options.rank, options.candidates, options.rows))

"""Strategy ``exact-screen``: the drafts of ``full``, from 8-bit rows and a proof.

No logit is above its product in 8 bits plus what such a product can be off (``specframe/ops/bounded_rows``).
A row whose bound is below the k-th largest exact logit of some rows is not among the k best. So the rows with
the largest bounds are computed exactly, and where the next bound is below the k-th best of them, they contain
the k best of all. Where it is not, that state gets the full product.
"""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import VocabularyBuilder
from specframe.contracts.screen import Candidates, Screen, StateSource
from specframe.ops.bounded_rows import BoundedRows
from specframe.ops.row_maxima import row_topk
from specframe.registry.components import BuildContext
from specframe_plugins.vocabularies.components.exact_screen import ExactScreenOptions

# Of a head in half precision, widened: bounds the memory.
_ROWS_AT_ONCE = 8192


class ExactScreen(Screen):
    """Candidates that provably contain the k best rows.

    In half precision the exact logits are the float32 products of the same rows and states: ``full`` rounds
    them, and which of two equal ones it takes is chance.

    Args:
        width: candidates of each state.

    Attributes:
        doubted: how many states got the full product since the start.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.doubted = 0

    def bind(self, head: OutputHead, states: StateSource) -> None:
        """Make the 8-bit rows; nothing is fitted to the states."""
        self._head = head
        self._rows = BoundedRows(head.rows, head.vocab_size, head.hidden_size, head.bias)

    def screen(self, hidden: Tensor) -> Candidates:
        """Return candidates that contain the best row of each state [N, C]."""
        return self.screen_topk(hidden, 1)

    def screen_topk(self, hidden: Tensor, k: int) -> Candidates:
        """Return candidates that contain the k best rows of each state [N, C], with their logits.

        ``log_total`` is made of the estimates, and of the exact logits of the candidates.
        """
        estimates = self._rows.estimate(hidden)
        values = self._head.finish(estimates.values)
        peak = values.amax(dim=1, keepdim=True)
        total = (values - peak).exp_().sum(dim=1)
        rows, bounds, following = self._rows.shortlist(estimates, self.width)
        scales = self._rows.scales[rows]
        exact = self._exact(hidden, rows)
        surely = exact - 2 * estimates.rounding[:, None] * scales - self._rows.slack
        least = surely.topk(min(k, self.width), dim=1).values[:, -1:]
        estimated = self._head.finish(bounds - estimates.reach[:, None] * scales - self._rows.slack)
        logits = self._head.finish(exact)
        total += ((logits - peak).exp() - (estimated - peak).exp()).sum(dim=1)
        log_total = total.log() + peak[:, 0]
        # A NaN proves nothing either.
        doubtful = ~(following < least[:, 0])
        if bool(doubtful.any()):
            self._look_at_all(hidden, doubtful, rows, logits, log_total)
        return Candidates(rows, log_total, logits)

    def held(self) -> tuple[Tensor, ...]:
        """Return the 8-bit rows with their scales."""
        return self._rows.tensors

    def _exact(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """Return the products in float32 with some rows of each state [N, C]."""
        # A batched product takes several times as long as its parts on the CPU, where this runs.
        raw = torch.stack(
            [
                torch.mv(self._head.rows(own).float(), state)
                for own, state in zip(rows, hidden.float(), strict=True)
            ]
        )
        return raw if self._head.bias is None else raw + self._head.bias.detach().float()[rows]

    def _all(self, hidden: Tensor) -> Tensor:
        """Return all logits of states [N, V] float32."""
        head = self._head
        if head.dtype == torch.float32:
            return head.logits(hidden)
        bias = None if head.bias is None else head.bias.detach().float()
        parts = torch.arange(head.vocab_size).split(_ROWS_AT_ONCE)
        raw = torch.cat([hidden.float() @ head.rows(part).float().T for part in parts], dim=1)
        return head.finish(raw if bias is None else raw + bias)

    def _look_at_all(
        self, hidden: Tensor, doubtful: Tensor, rows: Tensor, logits: Tensor, log_total: Tensor
    ) -> None:
        """Write what all logits say over what was found for the doubtful states [N] bool."""
        self.doubted += int(doubtful.sum())
        full = self._all(hidden[doubtful])
        best, at = row_topk(full, self.width)
        rows[doubtful], logits[doubtful] = at, best.float()
        log_total[doubtful] = full.logsumexp(dim=1)


class ExactScreenVocabulary(VocabularyBuilder):
    """No active set: all is left to the screen.

    Args:
        screen: chooses.
    """

    capacity = 0
    takes_batches = True

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.pinned_ids = torch.empty(0, dtype=torch.int64)


def build(options: ExactScreenOptions, context: BuildContext) -> ExactScreenVocabulary:
    """Return the strategy for a target."""
    return ExactScreenVocabulary(ExactScreen(options.candidates))

"""Strategy ``lowrank``: candidates by a truncated SVD of the LM head, chosen for each hidden state.

Source: SVD-softmax (Shim et al., NIPS 2017). The decomposition is one in the metric of the drafter's hidden
states: it keeps what matters for the logits of states that occur.
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.options import option
from specframe.contracts.protocols import VocabularyBuilder
from specframe.contracts.screen import Candidates, Screen, StateSource
from specframe.errors import UsageError
from specframe.ops.row_maxima import row_topk
from specframe.registry.components import BuildContext, Component

_STATES = 4096
# Of the mean of the second moments' diagonal: makes their root invertible where states are few.
_RIDGE = 1e-3


@attrs.frozen(slots=True)
class LowRankOptions:
    """Options of ``lowrank``."""

    rank: int = option(64, help="columns of the screen", unit="columns", minimum=1, tune=(16, 32, 64, 128))
    candidates: int = option(
        256, help="rows computed exactly", unit="rows", minimum=1, tune=(64, 128, 256, 512)
    )


class LowRankScreen(Screen):
    """Estimates logits as ``(h @ down) @ up.T`` and takes the largest.

    Args:
        rank: r, columns of ``up``.
        width: candidates of each state.
    """

    def __init__(self, rank: int, width: int) -> None:
        self._rank, self.width = rank, width

    def bind(self, head: OutputHead, states: StateSource) -> None:
        """Decompose the head in the metric of the states.

        Raises:
            UsageError: the rank is above H.
        """
        if self._rank > head.hidden_size:
            raise UsageError(f"rank {self._rank} is above the head's {head.hidden_size} columns")
        weight, sample = head.weight.detach().float(), states.sample(_STATES).to(head.device)
        moment = sample.T @ sample / len(sample)
        moment.diagonal().add_(_RIDGE * moment.diagonal().mean())
        values, vectors = torch.linalg.eigh(moment)
        root = vectors * values.sqrt() @ vectors.T
        inverse = vectors / values.sqrt() @ vectors.T
        _, basis = torch.linalg.eigh(root @ (weight.T @ weight) @ root)
        basis = basis[:, -self._rank :]
        self._up = (weight @ (root @ basis)).to(head.dtype)
        self._down = (inverse @ basis).to(head.dtype)
        self._bias = None if head.bias is None else head.bias.detach()

    def screen(self, hidden: Tensor) -> Candidates:
        """Return the rows of the largest estimates [N, C]."""
        estimates = torch.nn.functional.linear(hidden @ self._down, self._up, self._bias)
        return Candidates(row_topk(estimates, self.width)[1])

    def held(self) -> tuple[Tensor, ...]:
        """Return the two factors."""
        return (self._up, self._down)


class LowRankVocabulary(VocabularyBuilder):
    """No active set: all is left to the screen.

    Args:
        screen: chooses.
    """

    capacity = 0
    takes_batches = True

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.pinned_ids = torch.empty(0, dtype=torch.int64)


def _build(options: LowRankOptions, context: BuildContext) -> LowRankVocabulary:
    return LowRankVocabulary(LowRankScreen(options.rank, options.candidates))


COMPONENT = Component(
    name="lowrank",
    summary="candidates of a low-rank estimate of all logits, for each hidden state",
    options=LowRankOptions,
    factory=_build,
)

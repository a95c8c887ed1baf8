"""Screens: which rows of an LM head are worth computing exactly, for each hidden state by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import attrs
from torch import Tensor

from specframe.contracts.lm_head import OutputHead


@attrs.frozen(slots=True, eq=False)
class Candidates:
    """What a screen found.

    Attributes:
        rows: rows of the LM head, none twice for one state [N, C] int64; -1 for none, but one at least.
            Nobody writes into them before the draft is over.
        log_total: log-sum-exp of the logits of all rows, as well as the screen knows it [N] float32. None:
            log-probabilities are over the candidates, and the active set where there is one.
        logits: exact logits of the rows [N, C] float32, where the screen had to compute them; a backend may
            take them as they are. None: it computes them.
    """

    rows: Tensor
    log_total: Tensor | None = None
    logits: Tensor | None = None


class StateSource(Protocol):
    """Hidden states to fit a screen to."""

    @property
    def key(self) -> str:
        """Digits that tell these states and the LM head that they go to from others.

        Empty where nothing that is fitted to them is to be kept.
        """
        ...

    def sample(self, count: int) -> Tensor:
        """Return hidden states that the drafter has drafted from [at most count, H] float32, on the CPU.

        They are those of built-in prompts, kept in the cache folder; made where they are not there, which
        takes a while.
        """
        ...


class Screen(ABC):
    """A cheap estimate of all logits, which decides what rows are computed exactly (SVD-softmax, NIPS 2017).

    What it says about a state depends on that state alone, and not on the others of a batch. Nothing is
    remembered.

    Attributes:
        width: C, how many candidates each state gets.
    """

    width: int

    @abstractmethod
    def bind(self, head: OutputHead, states: StateSource) -> None:
        """Attach to the drafter's LM head; comes once, before all else.

        Args:
            head: its rows are what is screened.
            states: asked only by screens that are fitted to them.
        """

    @abstractmethod
    def screen(self, hidden: Tensor) -> Candidates:
        """Return the candidates of each hidden state [N, H]; on a device without a host read."""

    def screen_topk(self, hidden: Tensor, k: int) -> Candidates:
        """Return the candidates of each hidden state [N, H] of which the k best are drafted.

        By default those of ``screen``, whatever k is.
        """
        return self.screen(hidden)

    def held(self) -> tuple[Tensor, ...]:
        """Return the tensors that it keeps besides the LM head, for reports of memory."""
        return ()

"""A strategy's screen as the engine calls it."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from specframe.contracts.called.members import check_members, read
from specframe.contracts.called.question import check_question
from specframe.contracts.faults import ComponentError, Owner
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.screen import Candidates, Screen, StateSource
from specframe.errors import SpecframeError, blaming_nobody

_ROLE = "has a screen that"


@attrs.frozen(slots=True)
class _Given:
    """A ``StateSource`` whose failures are no fault of the screen that asks it."""

    states: StateSource

    @property
    def key(self) -> str:
        return self.states.key

    def sample(self, count: int) -> Tensor:
        try:
            return self.states.sample(count)
        except SpecframeError as error:
            raise blaming_nobody(error)  # noqa: B904 - the same error


class CalledScreen(Screen):
    """Calls a screen, and checks the form of what it finds.

    Args:
        screen: is called.
        owner: of the strategy that it belongs to.

    Raises:
        ComponentError: it cannot be called, or its width is no number.
    """

    def __init__(self, screen: Screen, owner: Owner) -> None:
        check_members(owner, screen, Screen, _ROLE)
        self.component, self.owner = screen, owner
        self.width = read(owner, screen, "width", Screen, _ROLE)
        if type(self.width) is not int:
            raise owner.fault(f"{_ROLE} has the width {self.width!r}; allowed: a whole number")
        self._head: OutputHead | None = None
        self._in_screen, self._in_topk = owner.blame("screen()"), owner.blame("screen_topk()")

    @classmethod
    def of(cls, screen: Screen, owner: Owner | None = None) -> CalledScreen:
        """Return a screen as it is called, whether it is wrapped already or not."""
        if isinstance(screen, cls):
            return screen
        return cls(screen, owner or Owner("vocabulary", type(screen).__name__))

    def bind(self, head: OutputHead, states: StateSource) -> None:
        """Attach the screen to the drafter's LM head."""
        self._head = head
        with self.owner.declares("bind() of its screen"):
            self.component.bind(head, _Given(states))

    def screen(self, hidden: Tensor) -> Candidates:
        """Return the candidates of each hidden state [N, H]."""
        try:
            with self._in_screen:
                found = self.component.screen(hidden)
        except ComponentError:
            self._check(hidden)
            raise
        return self._checked(found, hidden)

    def screen_topk(self, hidden: Tensor, k: int) -> Candidates:
        """Return the candidates of each hidden state [N, H] of which the k best are drafted."""
        try:
            with self._in_topk:
                found = self.component.screen_topk(hidden, k)
        except ComponentError:
            self._check(hidden, k)
            raise
        return self._checked(found, hidden)

    def held(self) -> tuple[Tensor, ...]:
        """Return the tensors that it keeps besides the LM head."""
        with self.owner.blame("held() of its screen"):
            return self.component.held()

    def _check(self, hidden: Tensor, k: int | None = None) -> None:
        if self._head is not None:
            check_question(self._head, hidden, k)

    def _checked(self, found: Candidates, hidden: Tensor) -> Candidates:
        """Return what the screen found, if it is rows [N, C] int64 and what comes with them fits.

        Raises:
            ComponentError: it is something else.
            WrongCall: because it was asked about something else than hidden states.
        """
        if not isinstance(found, Candidates):
            raise self._wrong(hidden, f"screens a {type(found).__name__}", "Candidates")
        shape = (len(hidden), self.width)
        rows = found.rows
        if not isinstance(rows, Tensor) or rows.shape != shape or rows.dtype != torch.int64:
            raise self._wrong(hidden, f"screens {_shown(rows)}", f"rows {list(shape)} torch.int64")
        for name, given, wanted in (
            ("log_total", found.log_total, shape[:1]),
            ("logits", found.logits, shape),
        ):
            if given is None:
                continue
            if not isinstance(given, Tensor) or given.shape != wanted or given.dtype != torch.float32:
                allowed = f"{list(wanted)} torch.float32, or None"
                raise self._wrong(hidden, f"screens {name} {_shown(given)}", allowed)
        return found

    def _wrong(self, hidden: Tensor, what: str, allowed: str) -> ComponentError:
        self._check(hidden)
        return self.owner.fault(f"{what}; allowed: {allowed}")


def _shown(given: object) -> str:
    return f"{list(given.shape)} {given.dtype}" if isinstance(given, Tensor) else type(given).__name__

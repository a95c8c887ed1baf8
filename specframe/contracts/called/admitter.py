"""A gather backend's own admitter as the store calls it."""

from __future__ import annotations

from torch import Tensor

from specframe.contracts.active_set import check_range
from specframe.contracts.faults import Owner
from specframe.contracts.protocols import Admitter
from specframe.errors import SpecframeError

_MEMBERS = ("admitted", "tensors", "reset", "admit")


class CalledAdmitter:
    """Calls the admitter of a gather backend.

    Args:
        admitter: is called.
        owner: of the gather backend.
        rows: of the LM head.

    Raises:
        ComponentError: it is no admitter.
    """

    def __init__(self, admitter: Admitter, owner: Owner, rows: int) -> None:
        self.component, self._owner, self._rows = admitter, owner, rows
        with owner.blame("admitter()"):
            lacking = [name for name in _MEMBERS if not hasattr(admitter, name)]
        if lacking:
            raise owner.fault(
                f"returned a {type(admitter).__name__} without {lacking[0]} from admitter(); "
                "allowed: an Admitter, or None"
            )

    @property
    def admitted(self) -> Tensor:
        """How many slots were given out since the request began, [] int64."""
        with self._owner.blame("admitted of its admitter"):
            return self.component.admitted

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it keeps besides the active set."""
        with self._owner.blame("tensors of its admitter"):
            return self.component.tensors

    def reset(self) -> None:
        """Begin a request."""
        with self._owner.blame("reset() of its admitter"):
            self.component.reset()

    def admit(self, ids: Tensor) -> None:
        """Make ``ids`` [n] active.

        Raises:
            OutsideVocabulary: an id is negative or beyond the vocabulary, and the admitter says so.
        """
        try:
            with self._owner.blame("admit() of its admitter"):
                self.component.admit(ids)
        except SpecframeError:
            check_range(ids, self._rows)
            raise

"""What a component did wrong, with its kind; the engine adds the name that it was chosen by."""

from __future__ import annotations

from types import TracebackType

from specframe.contracts.kinds import KINDS, Kind
from specframe.errors import SpecframeError, one_line


class ComponentError(SpecframeError):
    """A component raised, or broke its contract.

    Args:
        kind: of the component.
        what: what it did and what is allowed, to follow its name.
        name: what errors call the component.
    """

    def __init__(self, kind: Kind, what: str, name: str | None = None) -> None:
        super().__init__(f"{name or kind} {what}")
        self.kind, self.what = kind, what


class _Blame:
    """Turns what is raised inside into a ``ComponentError``; a context manager without state."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, SpecframeError):
            raise ComponentError(self._kind, f"raised {one_line(error)}") from error


_BLAME: dict[Kind, _Blame] = {kind: _Blame(kind) for kind in KINDS}


def blaming(kind: Kind) -> _Blame:
    """Return the context in which a component of this kind is called."""
    return _BLAME[kind]

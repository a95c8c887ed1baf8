"""Whose fault something is: known by who was called, never by a look at frames."""

from __future__ import annotations

import logging
from types import TracebackType

import attrs

from specframe.contracts.kinds import KINDS, Kind
from specframe.errors import PluginError, SpecframeError, blaming_nobody, one_line

_log = logging.getLogger(__name__)


@attrs.frozen(slots=True)
class Owner:
    """Whose component is called.

    Attributes:
        kind: of the component.
        name: that it was chosen by.
        distribution: and version that it came from; empty where nobody knows.
    """

    kind: Kind
    name: str
    distribution: str = ""

    @classmethod
    def of(cls, kind: Kind, name: str, plugin: str) -> Owner:
        """Return whose a component is, given its plugin as in ``their-plugin (their-distribution 1.0)``."""
        return cls(kind, name, plugin.rpartition(" (")[2].removesuffix(")"))

    def __str__(self) -> str:
        """What errors call the component."""
        whose = f" ({self.distribution})" if self.distribution else ""
        return f"{KINDS[self.kind].label} {self.name!r}{whose}"

    def fault(self, what: str) -> ComponentError:
        """Return the error for what the component did; ``what`` says also what is allowed."""
        return _Fault(self, what)

    def blamed(self, error: BaseException, where: str) -> BaseException:
        """Return what is to be raised in the place of an error that came out of the component.

        Args:
            error: that came out.
            where: in which of its methods.

        Returns:
            The error itself where it is nobody's fault, or the process is to end; what another component did
            wrong meanwhile; else a fault of this one.
        """
        if isinstance(error, KeyboardInterrupt):
            return error
        if isinstance(error, SystemExit):  # it may come from a signal, whoever was called then
            _log.warning("%s was called in %s when the process was told to end", self, where)
            return error
        of_another = _known_fault(error)
        if of_another is not None:
            return of_another
        if isinstance(error, WrongCall):
            return self.fault(f"{error} (in {where})")
        if isinstance(error, SpecframeError) and not isinstance(error, ComponentError):
            fault = self.fault(f"says in {where}: {_text(error)}")
            fault.exit_code = error.exit_code
            return fault
        return self.fault(f"raised in {where}: {one_line(error)}")

    def blame(self, where: str) -> Blame:
        """Return the context in which one of its methods is called."""
        return Blame(self, where)

    def declares(self, where: str) -> Declares:
        """Return the context in which one of its functions is called before anything runs."""
        return Declares(self, where)


class ComponentError(SpecframeError):
    """A component raised, or broke its contract.

    Only the layer that calls components knows whose fault something is: one that a component raises is an
    exception like any other.

    Args:
        owner: whose component.
        what: it did and what is allowed, to follow its name.
    """

    def __init__(self, owner: Owner, what: str) -> None:
        super().__init__(f"{owner} {what}")
        self.owner, self.what = owner, what

    @property
    def kind(self) -> Kind:
        """Of the component."""
        return self.owner.kind


class _Fault(ComponentError):
    """A ``ComponentError`` of the layer."""


class WrongCall(SpecframeError):
    """Whoever called gave what is not allowed; the text follows the caller's name."""


class Blame:
    """Blames a component for what is raised inside; a context without state.

    Args:
        owner: whose component is called.
        where: in which of its methods.
    """

    def __init__(self, owner: Owner, where: str) -> None:
        self._owner, self._where = owner, where

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            blamed = self._owner.blamed(error, self._where)
            if blamed is not error:
                raise blamed from error


class Declares(Blame):
    """The same before anything runs: an error that is meant for the user stays what it is, and says whose.

    ``sys.exit`` is an error like any other: nothing is at work that a signal might end.
    """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Name the component."""
        if isinstance(error, SystemExit):
            raise self._owner.fault(f"raised in {self._where}: {one_line(error)}") from error
        if isinstance(error, PluginError):  # which names the plugin
            return
        if isinstance(error, SpecframeError) and not isinstance(error, ComponentError | WrongCall):
            if not error.blames_nobody and repr(self._owner.name) not in (text := _text(error)):
                error.args = (f"{self._owner}: {text}",)
            blaming_nobody(error)  # else: whoever it passes on its way was only building with this one
            return
        super().__exit__(kind, error, trace)


def _known_fault(error: BaseException | None) -> BaseException | None:
    """Return the fault that an error is, or says that it comes from; None where it is nobody's yet."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, _Fault) or (isinstance(error, SpecframeError) and error.blames_nobody):
            return error
        seen.add(id(error))
        error = error.__cause__
    return None


def _text(error: BaseException) -> str:
    """Return what an error says, in one line."""
    return one_line(error).removeprefix(f"{type(error).__name__}: ")

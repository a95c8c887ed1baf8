"""A component's functions as they are called: whatever one raises or returns, an error says whose it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from specframe.contracts.called.members import misfit
from specframe.contracts.faults import Owner
from specframe.contracts.kinds import TREE_KINDS, Kind
from specframe.errors import PluginError
from specframe.registry.components import Component, Finding
from specframe.registry.reference import Reference, given_by

_Wrong = Callable[[Any], str | None]

_NOTHING = object()


def _nothing_wrong(returned: Any) -> None:
    """Return None: whatever is returned is looked at elsewhere."""


@attrs.frozen(slots=True, eq=False)
class AskedFunction:
    """A function of a component.

    Attributes:
        owner: whose it is.
        name: what the component calls it.
        function: is called.
        given: what it is called with.
        wrong: returns what is wrong with what it returned, or None.
    """

    owner: Owner
    name: str
    function: Callable[..., Any]
    given: tuple[str, ...]
    wrong: _Wrong = attrs.field(default=_nothing_wrong)

    def __call__(self, *arguments: Any) -> Any:
        """Call the function.

        Raises:
            ComponentError: it takes other arguments, raises, or returns something that is not allowed.
            UsageError: it says what the user has to change.
        """
        where = f"{self.name}()"
        function = self._resolved()
        unfit = misfit(function, self.name, self.given)
        if unfit is not None:
            raise self.owner.fault(unfit)
        with self.owner.declares(where):
            returned = function(*arguments)
        wrong = self.wrong(returned)
        if wrong is not None:
            raise self.owner.fault(f"returned {_shown(returned)} from {where}; allowed: {wrong}")
        return returned

    def _resolved(self) -> Callable[..., Any]:
        if not isinstance(self.function, Reference):
            return self.function
        try:
            return self.function.resolve()
        except PluginError as error:  # a run may go on without the component, as where its function raises
            fault = self.owner.fault(f"has no {self.name}(): {error}")
            fault.exit_code = error.exit_code
            raise fault from error


def asked(kind: Kind, component: Component, plugin: str) -> Component:
    """Return a component whose functions say whose they are.

    Args:
        kind: of the component.
        component: as its plugin registered it.
        plugin: its name, as in ``their-plugin (their-distribution 1.0)``.
    """
    owner = Owner.of(kind, component.name, plugin)
    component = given_by(plugin, component)

    def function(name: str, given: str, wrong: _Wrong = _nothing_wrong) -> AskedFunction:
        return AskedFunction(owner, name, getattr(component, name), (given,) if given else (), wrong)

    def optional(name: str, given: str, wrong: _Wrong = _nothing_wrong) -> AskedFunction | None:
        return None if getattr(component, name) is None else function(name, given, wrong)

    return attrs.evolve(
        component,
        factory=_factory(AskedFunction(owner, "factory", component.factory, ("options", "context"))),
        supports=function("supports", "setting", _no_reason),
        priority=function("priority", "setting", _no_priority),
        learns=function("learns", "options", _no_flag),
        drafts=optional("drafts", "options", _no_trees),
        sweep=optional("sweep", "setting", _no_texts),
        train=optional("train", "request"),
        train_data=optional("train_data", ""),
        diagnose=_diagnose(optional("diagnose", "request")),
    )


def _factory(make: AskedFunction) -> Callable[[Any, Any], Any]:
    def factory(options: Any, context: Any) -> Any:
        """Return the component as it is called."""
        # Imported late: what lists components does not wait for torch.
        from specframe.contracts.called.wrapping import called

        return called(make(options, context), make.owner)

    return factory


def _diagnose(look: AskedFunction | None) -> Callable[[Any], Iterable[Finding]] | None:
    if look is None:
        return None

    def diagnose(request: Any) -> Iterator[Finding]:
        """Yield the findings; those before a failure count."""
        found, owner = look(request), look.owner
        with owner.declares("diagnose()"):
            findings = iter(found)
        while True:
            with owner.declares("diagnose()"):
                finding = next(findings, _NOTHING)
            if finding is _NOTHING:
                return
            if not isinstance(finding, Finding):
                raise owner.fault(f"found {_shown(finding)} in diagnose(); allowed: a Finding")
            yield finding

    return diagnose


def _no_reason(returned: Any) -> str | None:
    reason = isinstance(returned, str) and returned.strip()
    return None if returned is None or reason else "a reason as text, or None"


def _no_priority(returned: Any) -> str | None:
    return None if returned is None or type(returned) is int else "a whole number, or None"


def _no_flag(returned: Any) -> str | None:
    return None if type(returned) is bool else "True or False"


def _no_trees(returned: Any) -> str | None:
    known = isinstance(returned, tuple | list) and all(one in TREE_KINDS for one in returned)
    return None if known else f"a tuple of {', '.join(TREE_KINDS)}"


def _no_texts(returned: Any) -> str | None:
    texts = isinstance(returned, tuple | list) and all(isinstance(one, str) for one in returned)
    return None if texts else "a tuple of texts"


def _shown(returned: Any) -> str:
    """Return what was returned, where that is short, and else what it is."""
    if returned is None or isinstance(returned, str | int | float):
        return repr(returned)[:80]
    return f"a {type(returned).__name__}"

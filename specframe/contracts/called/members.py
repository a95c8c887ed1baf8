"""What a component has: its members read, and its methods compared with how they are called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from specframe.contracts.faults import Owner

# A flag promises a method, which the contract leaves open.
_PROMISED: Mapping[str, Mapping[str, str]] = {
    "Drafter": {"can_pause": "skip"},
    "GatherBackend": {"scores_candidates": "candidate_topk"},
}


def check_members(owner: Owner, component: object, contract: type, role: str = "") -> None:
    """See that a component is of its contract and can be called as specframe calls it.

    Args:
        owner: whose component.
        component: is called by nobody here.
        contract: the base class of its kind.
        role: what it is to the owner, as in ``has a screen that``; empty for the component itself.

    Raises:
        ComponentError: it is of another class, lacks something, or has a method that takes something else.
    """
    say = _Saying(owner, role)
    if inspect.isclass(component):
        raise say.fault(f"is the class {component.__name__}; allowed: an instance of it, as in factory()()")
    if not isinstance(component, contract):
        raise say.fault(
            f"is a {type(component).__name__}; allowed: a class that inherits {contract.__name__}"
        )
    for name in _left_open(contract):
        read(owner, component, name, contract, role)
    for name, function in _methods(contract).items():
        if is_own(component, name, contract):
            _check_method(say, component, name, function)
    for flag, method in _PROMISED.get(contract.__name__, {}).items():
        if read(owner, component, flag, contract, role) is True and not is_own(component, method, contract):
            raise say.fault(f"says {flag} and lacks {method}(); allowed: both or neither")


def read(owner: Owner, component: object, name: str, contract: type, role: str = "") -> Any:
    """Return an attribute of a component.

    Raises:
        ComponentError: it is not there, or a property that raises.
    """
    with owner.declares(f"its property {name}"):
        try:
            return getattr(component, name)
        except AttributeError:
            if inspect.getattr_static(component, name, _NOTHING) is not _NOTHING:
                raise
    raise _Saying(owner, role).fault(f"lacks {name}, which {contract.__name__} leaves open")


def read_flag(owner: Owner, component: object, name: str, contract: type) -> bool:
    """Return an attribute that is True or False; raises as ``read`` does, and for anything else."""
    value = read(owner, component, name, contract)
    if type(value) is not bool:
        raise owner.fault(f"has the {name} {value!r}; allowed: True or False")
    return value


def read_number(owner: Owner, component: object, name: str, contract: type) -> int:
    """Return an attribute that is a whole number; raises as ``read`` does, and for anything else."""
    value = read(owner, component, name, contract)
    if type(value) is not int:
        raise owner.fault(f"has the {name} {value!r}; allowed: a whole number")
    return value


def is_own(component: object, name: str, contract: type) -> bool:
    """Return whether a component has a method of its own where the contract has one."""
    return inspect.getattr_static(component, name, None) is not inspect.getattr_static(contract, name, None)


def misfit(function: Callable[..., Any], name: str, given: tuple[str, ...]) -> str | None:
    """Return how a function differs from how it is called, or None.

    Args:
        function: of a component.
        name: what it is called.
        given: names of what it is called with, all by position.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin says nothing of itself
        return None
    try:
        signature.bind(*given)
    except TypeError:
        bare = [
            one.replace(annotation=one.empty, default=one.empty if one.default is one.empty else _SOME)
            for one in signature.parameters.values()
        ]
        takes = signature.replace(parameters=bare, return_annotation=signature.empty)
        return f"takes {name}{takes}; specframe calls {name}({', '.join(given)})"
    return None


class _Default:
    """Stands for a default value."""

    def __repr__(self) -> str:
        return "..."


_NOTHING, _SOME = object(), _Default()


class _Saying:
    """Faults of a component, or of what it brings along."""

    def __init__(self, owner: Owner, role: str) -> None:
        self._owner, self._role = owner, role

    def fault(self, what: str) -> Exception:
        """Return the error."""
        return self._owner.fault(f"{self._role} {what}" if self._role else what)


def _check_method(say: _Saying, component: object, name: str, function: Callable[..., Any]) -> None:
    method = getattr(component, name)
    if not callable(method):
        raise say.fault(f"has a {type(method).__name__} as its {name}; allowed: a method")
    wrong = misfit(method, name, tuple(inspect.signature(function).parameters)[1:])
    if wrong is not None:
        raise say.fault(wrong)
    if inspect.isgeneratorfunction(method) or inspect.iscoroutinefunction(method):
        kind = "generator" if inspect.isgeneratorfunction(method) else "coroutine"
        raise say.fault(
            f"has a {kind} as its {name}(), which runs nothing when it is called; allowed: a method"
        )


@cache
def _left_open(contract: type) -> tuple[str, ...]:
    """Return the attributes that a contract has no value for."""
    return tuple(name for name in contract.__annotations__ if not hasattr(contract, name))


@cache
def _methods(contract: type) -> dict[str, Callable[..., Any]]:
    """Return the methods of a contract."""
    return {
        name: member
        for name, member in vars(contract).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }

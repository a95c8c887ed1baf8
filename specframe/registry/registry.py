"""(kind, name) -> component."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from specframe.config import AUTO, AUTOREGRESSIVE
from specframe.contracts.kinds import KINDS, Kind
from specframe.contracts.options import build_options
from specframe.errors import PluginError, SpecframeError, one_line, unknown_name
from specframe.registry.asked import asked
from specframe.registry.components import Component
from specframe.registry.installed import broken_plugin
from specframe.registry.shipped import ShippedData

# What users type for no component.
_RESERVED: Mapping[Kind, tuple[str, ...]] = {"vocabulary": (AUTO, AUTOREGRESSIVE)}


@attrs.frozen(slots=True)
class Registration:
    """A component and the distribution it came from."""

    kind: Kind
    component: Component
    distribution: str

    def build_options(self, values: Mapping[str, Any]) -> Any:
        """Return the component's options from strings or TOML values.

        Raises:
            PluginError: the class cannot be made, whatever the values are.
            UsageError: an option or a value does not fit.
        """
        owner = f"{KINDS[self.kind].label} {self.component.name!r}"
        try:
            return build_options(self.component.options, values, owner)
        except SpecframeError:
            raise
        except (Exception, SystemExit) as error:  # a check of a stranger's may raise anything
            what = f"raised while the options of {owner} were checked: {one_line(error)}"
            raise broken_plugin(self.distribution, what) from error


class Registry:
    """Every component that plugins registered. Names are unique within a kind.

    Attributes:
        data: what they ship for targets.
    """

    def __init__(self) -> None:
        self.data = ShippedData()
        self._registrations: dict[tuple[Kind, str], Registration] = {}

    def copy(self) -> Registry:
        """Return a registry of the same components, to which others can be added."""
        other = Registry()
        other.data, other._registrations = self.data, dict(self._registrations)
        return other

    def register(self, kind: Kind, component: Component, distribution: str) -> None:
        """Add a component.

        Raises:
            PluginError: the name is taken, by somebody else or by specframe; the message names whoever it is.
        """
        label, name = KINDS[kind].label, component.name
        if name in _RESERVED.get(kind, (AUTO,)):
            raise broken_plugin(distribution, f"calls a {label} {name!r}, which has a meaning of its own")
        taken = self._registrations.get((kind, name))
        if taken is not None and taken.distribution == distribution:
            raise broken_plugin(distribution, f"registers {label} {name!r} twice")
        if taken is not None:
            raise PluginError(
                f"{label} {name!r} is registered by both {taken.distribution} and {distribution}; uninstall "
                "or disable one of them",
                plugin=distribution,
            )
        component = asked(kind, component, distribution)
        self._registrations[kind, component.name] = Registration(kind, component, distribution)

    def get(self, kind: Kind, name: str) -> Component:
        """Return a component by name.

        Raises:
            UsageError: nobody registered the name; the message has the nearest known one.
        """
        return self.registration(kind, name).component

    def registration(self, kind: Kind, name: str) -> Registration:
        """Return a component together with its distribution; raises as ``get`` does."""
        if (kind, name) not in self._registrations:
            raise unknown_name(KINDS[kind].label, name, self.names(kind))
        return self._registrations[kind, name]

    def find(self, kind: str, name: str) -> Registration:
        """Return a registration for a kind and name that a user typed; raises as ``get`` does."""
        for known, info in KINDS.items():
            if kind in (known, info.setting):
                return self.registration(known, name)
        raise unknown_name("kind", kind, KINDS)

    def names(self, kind: Kind) -> list[str]:
        """Return the names registered for a kind, sorted."""
        return sorted(name for of_kind, name in self._registrations if of_kind == kind)

    def registrations(self) -> list[Registration]:
        """Return everything registered, by kind and name."""
        return [self._registrations[kind, name] for kind in KINDS for name in self.names(kind)]

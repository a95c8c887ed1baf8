"""(kind, name) -> component."""

from __future__ import annotations

import attrs

from specframe.contracts.kinds import KINDS, Kind
from specframe.errors import PluginError, unknown_name
from specframe.registry.asked import asked
from specframe.registry.components import Component
from specframe.registry.shipped import ShippedData


@attrs.frozen(slots=True)
class Registration:
    """A component and the distribution it came from."""

    kind: Kind
    component: Component
    distribution: str


class Registry:
    """Every component that plugins registered. Names are unique within a kind.

    Attributes:
        data: what they ship for targets.
    """

    def __init__(self) -> None:
        self.data = ShippedData()
        self._registrations: dict[tuple[Kind, str], Registration] = {}

    def register(self, kind: Kind, component: Component, distribution: str) -> None:
        """Add a component.

        Raises:
            PluginError: the name is taken; the message names both distributions.
        """
        taken = self._registrations.get((kind, component.name))
        if taken is not None:
            raise PluginError(
                f"{KINDS[kind].label} {component.name!r} is registered by both {taken.distribution} and "
                f"{distribution}; uninstall or disable one of them"
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
        for known in KINDS:
            if known == kind:
                return self.registration(known, name)
        raise unknown_name("kind", kind, KINDS)

    def names(self, kind: Kind) -> list[str]:
        """Return the names registered for a kind, sorted."""
        return sorted(name for of_kind, name in self._registrations if of_kind == kind)

    def registrations(self) -> list[Registration]:
        """Return everything registered, by kind and name."""
        return [self._registrations[kind, name] for kind in KINDS for name in self.names(kind)]

"""Functions by name, ``package.module:function``: imported when they are called.

So a component can be listed, described and chosen before its class, and torch with it, is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import attrs

from specframe.errors import one_line
from specframe.registry.installed import broken_plugin


@attrs.frozen
class Reference:
    """A function, or anything else that can be called, by name.

    Attributes:
        module: what to import.
        name: of the function in the module.
        plugin: who gave the reference, for errors; empty where nobody knows yet.
    """

    module: str
    name: str
    plugin: str = ""

    @classmethod
    def of(cls, text: str) -> Reference:
        """Return what a text refers to.

        Raises:
            ValueError: it is not of the form ``package.module:function``.
        """
        module, _, name = text.partition(":")
        if not (name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
            raise ValueError(f"{text!r} refers to no function; allowed: 'package.module:function'")
        return cls(module, name)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Call the function.

        Raises:
            PluginError: it cannot be imported; the message names the plugin.
        """
        return self.resolve()(*arguments, **keywords)

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"

    def resolve(self) -> Callable[..., Any]:
        """Return the function; raises as a call does."""
        try:
            found = getattr(import_module(self.module), self.name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # importing a stranger's module may raise anything, SystemExit too
            raise self._broken(f"cannot be imported: {one_line(error)}") from error
        if not callable(found):
            raise self._broken(f"is {found!r}, which cannot be called")
        return found  # type: ignore[no-any-return]  # callable() is all that is known of it

    def _broken(self, what: str) -> Exception:
        return broken_plugin(self.plugin or "(not registered)", f"refers to {self}, which {what}")


def by_name(function: Callable[..., Any] | str) -> Callable[..., Any]:
    """Return a function as it is, and one that is given as ``package.module:function`` as a reference."""
    return Reference.of(function) if isinstance(function, str) else function


def by_name_or_none(function: Callable[..., Any] | str | None) -> Callable[..., Any] | None:
    """Return what ``by_name`` does, and None for None."""
    return None if function is None else by_name(function)


def given_by(plugin: str, declaration: Any) -> Any:
    """Return an attrs instance whose references, those of nested instances too, name who gave them."""
    changes: dict[str, Any] = {}
    for field in attrs.fields(type(declaration)):
        value = getattr(declaration, field.name)
        if isinstance(value, Reference):
            changes[field.name] = attrs.evolve(value, plugin=plugin)
        elif attrs.has(type(value)):
            changes[field.name] = given_by(plugin, value)
    return attrs.evolve(declaration, **changes) if changes else declaration

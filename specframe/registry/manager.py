"""The plugin manager: built-ins and strangers come in through the same entry-point group."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any

import pluggy

from specframe.contracts.kinds import KINDS
from specframe.errors import PluginError, one_line
from specframe.registry import hookspecs
from specframe.registry.broken import DISABLE_VARIABLE, broken_plugin
from specframe.registry.components import Component
from specframe.registry.registry import Registry
from specframe.registry.shipped import ShippedData

_DATA_HOOK = "specframe_data_directories"


def create_plugin_manager(
    disabled: Iterable[str] | None = None, *, entry_points: bool = True
) -> pluggy.PluginManager:
    """Return a fresh manager with every installed plugin registered.

    Args:
        disabled: entry-point names to leave out; by default the comma-separated
            ``SPECFRAME_DISABLE_PLUGINS``.
        entry_points: load installed plugins; tests turn this off to start from nothing.

    Raises:
        PluginError: a plugin fails to import, is registered twice, or implements a hook that does not exist.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT_NAME)
    manager.add_hookspecs(hookspecs)
    blocked = disabled_plugins() if disabled is None else set(disabled)
    if entry_points:
        for distribution, entry_point in installed_plugins():
            if entry_point.name not in blocked:
                _load(manager, distribution, entry_point)
    return manager


def build_registry(manager: pluggy.PluginManager) -> Registry:
    """Call every component hook once and return what the plugins registered.

    Raises:
        PluginError: a hook raises or returns something else than it should, or two components share a name.
    """
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"a plugin implements a hook that does not exist: {error}") from None
    registry = Registry()
    for kind in KINDS.values():
        for name, component in _returned(manager, kind.hook):
            if not isinstance(component, Component):
                raise broken_plugin(name, f"returned {component!r} from {kind.hook}(), which is no Component")
            registry.register(kind.name, component, name)
    registry.data = shipped_data(manager)
    return registry


def shipped_data(manager: pluggy.PluginManager) -> ShippedData:
    """Return the folders that plugins ship data in; nothing in them is read yet.

    Raises:
        PluginError: a hook raises, or returns something else than directories.
    """
    folders: list[tuple[Path, str]] = []
    for name, directory in _returned(manager, _DATA_HOOK):
        if not (isinstance(directory, Path) and directory.is_dir()):
            raise broken_plugin(name, f"returned {directory!r} from {_DATA_HOOK}(), which is no directory")
        folders += [(folder, name) for folder in sorted(directory.iterdir()) if folder.is_dir()]
    return ShippedData(tuple(folders))


def hook_of(manager: pluggy.PluginManager, hook: str, plugin: object) -> pluggy.HookCaller:
    """Return the caller of a hook that calls one plugin alone."""
    others = [other for other in manager.get_plugins() if other is not plugin]
    return manager.subset_hook_caller(hook, remove_plugins=others)


def disabled_plugins() -> set[str]:
    """Return the entry-point names that the user asked to leave out."""
    return {name.strip() for name in os.environ.get(DISABLE_VARIABLE, "").split(",")} - {""}


def installed_plugins() -> list[tuple[Distribution, EntryPoint]]:
    """Return the plugins of all installed distributions, each once, ordered by name."""
    found: dict[tuple[str, str], tuple[Distribution, EntryPoint]] = {}
    for distribution in distributions():
        for entry_point in distribution.entry_points.select(group=hookspecs.PROJECT_NAME):
            found.setdefault((entry_point.name, distribution.name), (distribution, entry_point))
    return [found[key] for key in sorted(found)]


def _returned(manager: pluggy.PluginManager, hook_name: str) -> Iterator[tuple[str, Any]]:
    """Yield whatever the plugins return from a collecting hook, each with the name of its plugin."""
    for name, plugin in manager.list_name_plugin():
        if plugin is None:
            continue
        try:
            items = [item for batch in hook_of(manager, hook_name, plugin)() for item in batch]
        except Exception as error:  # a stranger's plugin may raise anything
            raise broken_plugin(name, f"raised in {hook_name}(): {one_line(error)}") from error
        yield from ((name, item) for item in items)


def _load(manager: pluggy.PluginManager, distribution: Distribution, entry_point: EntryPoint) -> None:
    name = f"{entry_point.name} ({distribution.name} {distribution.version})"
    try:
        manager.register(entry_point.load(), name=name)
    except Exception as error:  # importing a stranger's module may raise anything
        raise broken_plugin(name, f"failed to import: {one_line(error)}") from error

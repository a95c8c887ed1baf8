"""The plugin manager: built-ins and strangers come in through the same entry-point group.

Whatever is wrong with a plugin becomes one line that names its distribution. A caller that can do without it
passes a list ``broken``: then the plugin is left out, its error goes there, and the others are loaded.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pluggy

from specframe.contracts.kinds import KINDS
from specframe.errors import PluginError, SpecframeError, one_line, shown
from specframe.registry import hookspecs
from specframe.registry.components import Component
from specframe.registry.hooks import check_hooks, collected
from specframe.registry.installed import (
    Plugin,
    broken_plugin,
    disabled_plugins,
    installed_plugins,
    unknown_disabled,
)
from specframe.registry.registry import Registry
from specframe.registry.shipped import ShippedData

_DATA_HOOK = "specframe_data_directories"


def create_plugin_manager(
    *, entry_points: bool = True, broken: list[PluginError] | None = None
) -> pluggy.PluginManager:
    """Return a fresh manager with every installed plugin registered.

    Those that ``SPECFRAME_DISABLE_PLUGINS`` names are left out: entry points or distributions, with commas.

    Args:
        entry_points: load installed plugins; tests turn this off to start from nothing.
        broken: takes the errors of plugins that do not work; None raises the first.

    Raises:
        PluginError: a plugin fails to import, or has a function that looks like a hook and can be none; or
            one is to be left out that does not exist.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT_NAME)
    manager.add_hookspecs(hookspecs)
    if not entry_points:
        return manager
    plugins = installed_plugins()
    for error in unknown_disabled(plugins):
        if broken is None:
            raise error
        broken.append(error)
    disabled = disabled_plugins(plugins)
    for plugin in plugins:
        if plugin not in disabled:
            with left_out(broken):
                _load(manager, plugin)
    return manager


def build_registry(manager: pluggy.PluginManager, broken: list[PluginError] | None = None) -> Registry:
    """Call every component hook once and return what the plugins registered.

    Args:
        manager: has the plugins; one that does not work is taken out.
        broken: takes the errors of plugins that do not work; None raises the first.

    Raises:
        PluginError: a hook raises or returns something else than it should, or two components share a name.
    """
    registry = Registry()
    for name, plugin in manager.list_name_plugin():
        if plugin is None:  # a name that is blocked
            continue
        attempt = registry.copy()
        with left_out(broken):
            _register(attempt, manager, name, plugin)
            registry = attempt
        if registry is not attempt:
            manager.unregister(plugin)
    return registry


def shipped_data(manager: pluggy.PluginManager) -> ShippedData:
    """Return the folders that plugins ship data in; nothing in them is read yet.

    Raises:
        PluginError: a hook raises, or returns something else than directories.
    """
    plugins = [(name, plugin) for name, plugin in manager.list_name_plugin() if plugin is not None]
    return ShippedData(
        tuple(folder for name, plugin in plugins for folder in _folders(manager, name, plugin))
    )


def hook_of(manager: pluggy.PluginManager, hook: str, plugin: object) -> pluggy.HookCaller:
    """Return the caller of a hook that calls one plugin alone."""
    others = [other for other in manager.get_plugins() if other is not plugin]
    return manager.subset_hook_caller(hook, remove_plugins=others)


@contextlib.contextmanager
def left_out(broken: list[PluginError] | None) -> Iterator[None]:
    """Put the error of a plugin among the others; raise it where nobody takes it."""
    try:
        yield
    except PluginError as error:
        if broken is None:
            raise
        broken.append(error)


def _load(manager: pluggy.PluginManager, plugin: Plugin) -> None:
    """Import a plugin and register its hooks."""
    name = str(plugin)
    if plugin.entry_point.pattern.match(plugin.entry_point.value) is None:
        raise broken_plugin(
            name,
            f"has the entry point {plugin.entry_point.value!r}; allowed: 'package.module', or "
            "'package.module:object'",
        )
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what a command prints is for other programs too
            loaded = plugin.entry_point.load()
    except KeyboardInterrupt:
        raise
    except SpecframeError as error:  # meant for the user as it is
        raise broken_plugin(name, f"cannot be loaded: {error}") from error
    except BaseException as error:  # importing a stranger's module may raise anything, SystemExit too
        raise broken_plugin(name, f"failed to import: {one_line(error)}") from error
    check_hooks(manager, name, loaded)
    twin = next((known for known, other in manager.list_name_plugin() if other is loaded), None)
    if twin is not None:
        raise broken_plugin(name, f"brings the same as plugin {twin}")
    try:
        manager.register(loaded, name=name)
    except Exception as error:  # pluggy compares plugins, and a stranger's may fail in that too
        raise broken_plugin(name, f"cannot be registered: {one_line(error)}") from error


def _register(registry: Registry, manager: pluggy.PluginManager, name: str, plugin: object) -> None:
    """Put the components and the data of one plugin into a registry."""
    check_hooks(manager, name, plugin)
    for kind in KINDS.values():
        for component in collected(manager, kind.hook, name, plugin, "Component"):
            if not isinstance(component, Component):
                raise broken_plugin(
                    name, f"returned {shown(component)} from {kind.hook}(), which is no Component"
                )
            registry.register(kind.name, component, name)
    registry.data = ShippedData((*registry.data.folders, *_folders(manager, name, plugin)))


def _folders(manager: pluggy.PluginManager, name: str, plugin: object) -> Iterable[tuple[Path, str]]:
    """Return the folders of data that one plugin ships, each with its name."""
    folders: list[tuple[Path, str]] = []
    for directory in collected(manager, _DATA_HOOK, name, plugin, "Path"):
        if not (isinstance(directory, Path) and directory.is_dir()):
            raise broken_plugin(
                name, f"returned {shown(directory)} from {_DATA_HOOK}(), which is no directory"
            )
        try:
            inside = sorted(directory.iterdir())
        except OSError as error:
            raise broken_plugin(name, f"ships {directory}, which cannot be read: {error.strerror}") from error
        folders += [(folder, name) for folder in inside if folder.is_dir()]
    return folders

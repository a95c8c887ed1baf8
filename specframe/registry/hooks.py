"""The functions that a plugin implements hooks with: found, checked, and called in the plugin's name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pluggy

from specframe.errors import one_line, shown
from specframe.registry.installed import broken_plugin

_PREFIX = "specframe_"


def check_hooks(manager: pluggy.PluginManager, name: str, plugin: object) -> None:
    """Raise a ``PluginError`` where a function of a plugin looks like a hook and can be none.

    Args:
        manager: knows the hooks.
        name: of the plugin, for errors.
        plugin: a module, or an object with methods.
    """
    if plugin is None or isinstance(plugin, type):
        raise broken_plugin(
            name, f"is {shown(plugin)}; allowed: a module, or an object whose methods are hooks"
        )
    hooks, known = 0, _known(manager)
    for attribute in _looked_at(name, "its list of attributes", dir, plugin):
        function = _looked_at(name, attribute, getattr, plugin, attribute)
        marked = _looked_at(name, attribute, manager.parse_hookimpl_opts, plugin, attribute)
        if marked is not None:
            _check_marked(manager, name, attribute, function, marked)
            hooks += 1
        elif attribute.startswith(_PREFIX) and _is_own_function(function):
            raise broken_plugin(
                name,
                f"has a function {attribute}() that is named like a hook and not marked as one"
                f"{_nearest(manager, attribute)}; allowed: @hookimpl above it, or another name",
            )
        elif attribute in known and not hasattr(function, f"{_PREFIX}spec"):
            raise broken_plugin(
                name, f"has {shown(function)} as its {attribute}; allowed: a function with @hookimpl above it"
            )
    # An object may have made up its mind: that of a plugin that is there only when asked for has none.
    if not hooks and (inspect.ismodule(plugin) or type(plugin).__module__ == "builtins"):
        where = plugin.__name__ if inspect.ismodule(plugin) else shown(plugin)
        raise broken_plugin(
            name, f"has no hooks in {where}; allowed: an entry point that names the module that has them"
        )


def collected(manager: pluggy.PluginManager, hook: str, name: str, plugin: object, of: str) -> list[Any]:
    """Return what a plugin returns from a hook that collects; nothing where it does not implement it.

    Args:
        manager: has the plugin.
        hook: takes no arguments.
        name: of the plugin, for errors.
        plugin: as it was registered.
        of: what the items should be, for errors.

    Raises:
        PluginError: it raises, or returns something else than an iterable.
    """
    items: list[Any] = []
    for returned in call_hook(manager, hook, name, plugin):
        if isinstance(returned, str | bytes) or not isinstance(returned, Iterable):
            raise broken_plugin(
                name, f"returned {shown(returned)} from {hook}(); allowed: an iterable of {of}"
            )
        items += in_the_name_of(name, hook, list, returned)  # a generator runs only now
    return items


def call_hook(
    manager: pluggy.PluginManager, hook: str, name: str, plugin: object, **given: object
) -> list[Any]:
    """Call the functions that a plugin implements a hook with; return what they return, None included.

    Raises:
        PluginError: one raises.
    """
    implementations = getattr(manager.hook, hook).get_hookimpls()
    return [
        in_the_name_of(name, hook, one.function, *(given[argument] for argument in one.argnames))
        for one in implementations
        if one.plugin is plugin
    ]


def in_the_name_of(name: str, hook: str, function: Callable[..., Any], *arguments: object) -> Any:
    """Return what a function of a plugin returns.

    Raises:
        PluginError: it raised, or tried to end the program.
    """
    try:
        return function(*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a stranger's function may raise anything, SystemExit too
        raise broken_plugin(name, f"raised in {hook}(): {one_line(error)}") from error


def _looked_at(name: str, what: str, look: Callable[..., Any], *arguments: object) -> Any:
    """Return what is seen of a plugin; raise a ``PluginError`` where it raises."""
    try:
        return look(*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a stranger's attribute may be computed
        raise broken_plugin(name, f"raised when {what} was looked at: {one_line(error)}") from error


def _check_marked(
    manager: pluggy.PluginManager,
    name: str,
    attribute: str,
    function: Callable[..., Any],
    marked: pluggy.HookimplOpts,
) -> None:
    """Raise unless a marked function implements a hook that there is, in the way that hooks are called."""
    hook = marked["specname"] or attribute
    spec = getattr(getattr(manager.hook, str(hook), None), "spec", None)
    if spec is None:
        if marked["optionalhook"]:  # of another version of specframe, as its author says
            return
        known = ", ".join(_known(manager))
        raise broken_plugin(
            name,
            f"implements a hook that does not exist, {hook}{_nearest(manager, str(hook))}; known: {known}",
        )
    if inspect.iscoroutinefunction(function):
        raise broken_plugin(name, f"implements {hook}() as a coroutine; allowed: a function")
    if marked["wrapper"] or marked["hookwrapper"]:
        raise broken_plugin(name, f"wraps {hook}(); allowed: to implement it")
    for parameter in inspect.signature(function).parameters.values():
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        needed = parameter.default is parameter.empty and not variadic
        given = ", ".join(spec.argnames) or "none"
        if parameter.name in spec.argnames and not needed:
            raise broken_plugin(
                name,
                f"has a default for {parameter.name!r} in {hook}(), so that it is never given; allowed: none",
            )
        if needed and parameter.name not in spec.argnames:
            raise broken_plugin(
                name, f"asks for an argument {parameter.name!r} in {hook}(); allowed: {given}"
            )


def _is_own_function(value: object) -> bool:
    """Return whether something is a function, and none of the declarations of hooks."""
    return inspect.isroutine(value) and not hasattr(value, f"{_PREFIX}spec")


def _known(manager: pluggy.PluginManager) -> list[str]:
    callers = vars(manager.hook)
    return sorted(name for name, caller in callers.items() if getattr(caller, "spec", None) is not None)


def _nearest(manager: pluggy.PluginManager, name: str) -> str:
    nearest = difflib.get_close_matches(name, _known(manager), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest and nearest[0] != name else ""

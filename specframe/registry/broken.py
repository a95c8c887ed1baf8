"""What the user reads about a plugin that does not work: whose it is, and how to go on without it."""

from __future__ import annotations

from specframe.errors import PluginError

DISABLE_VARIABLE = "SPECFRAME_DISABLE_PLUGINS"


def broken_plugin(plugin: str, what: str) -> PluginError:
    """Return the error for a plugin that broke a promise.

    Args:
        plugin: its name, as in ``their-plugin (their-distribution 1.0)``.
        what: it did, as in ``failed to import: ImportError: no module``.
    """
    entry_point = plugin.split(" ", 1)[0]
    return PluginError(f"plugin {plugin} {what}; set {DISABLE_VARIABLE}={entry_point} to go on without it")

"""Which plugins are installed, which the user left out, and what is said of one that does not work."""

from __future__ import annotations

import os
import re
from importlib.metadata import Distribution, EntryPoint, distributions

import attrs

from specframe.errors import PluginError, unknown_name

GROUP = "specframe"
DISABLE_VARIABLE = "SPECFRAME_DISABLE_PLUGINS"

# The distribution of the built-in plugins, which are loaded first.
_OURS = "specframe"


@attrs.frozen(slots=True)
class Plugin:
    """An entry point of the group ``specframe``.

    Attributes:
        entry_point: names the module.
        distribution, version: that brought it.
    """

    entry_point: EntryPoint
    distribution: str
    version: str

    @property
    def name(self) -> str:
        """The entry point's name."""
        return self.entry_point.name

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"


def installed_plugins() -> list[Plugin]:
    """Return the plugins of all installed distributions, each once, ours first, then by name."""
    found: dict[tuple[str, str], Plugin] = {}
    for distribution in distributions():
        name, version = _name_and_version(distribution)
        for entry_point in _entry_points(distribution):
            found.setdefault((entry_point.name, name), Plugin(entry_point, name, version))
    return sorted(found.values(), key=lambda one: (one.distribution != _OURS, one.name, one.distribution))


def _name_and_version(distribution: Distribution) -> tuple[str, str]:
    """Return both, or what stands for what cannot be read."""
    try:
        metadata = distribution.metadata
    except ValueError:  # no text at all
        return "unnamed", "?"
    return metadata["Name"] or "unnamed", metadata["Version"] or "?"


def _entry_points(distribution: Distribution) -> list[EntryPoint]:
    """Return the entry points of our group; a file of them that cannot be read is nobody's plugin."""
    try:
        return list(distribution.entry_points.select(group=GROUP))
    except (ValueError, TypeError):  # importlib's, from lines without a name or a value
        return []


def disabled_plugins(plugins: list[Plugin]) -> list[Plugin]:
    """Return the plugins that the user asked to leave out, by entry point or by distribution."""
    asked = {_plain(name) for name in _asked()}
    return [one for one in plugins if asked & {_plain(one.name), _plain(one.distribution)}]


def unknown_disabled(plugins: list[Plugin]) -> list[PluginError]:
    """Return an error for each name among those to leave out that no plugin has."""
    known = {name for one in plugins for name in (one.name, one.distribution)}
    plain = {_plain(name) for name in known}
    unknown = [name for name in _asked() if _plain(name) not in plain]
    return [PluginError(str(unknown_name(f"plugin in {DISABLE_VARIABLE}", name, known))) for name in unknown]


def is_ours(plugin: str) -> bool:
    """Return whether a plugin, named as in ``broken_plugin``, came with specframe itself."""
    return plugin.rpartition(" (")[2].startswith(f"{_OURS} ")


def broken_plugin(plugin: str, what: str) -> PluginError:
    """Return the error for a plugin that does not keep a promise.

    Args:
        plugin: whose fault it is, as in ``their-plugin (their-distribution 1.0)``.
        what: it did, as in ``failed to import: ImportError: no module``.
    """
    return PluginError(f"plugin {plugin} {what}; {_way_on(plugin)}", plugin=plugin)


def _way_on(plugin: str) -> str:
    """Return how to go on without a plugin: by the name that means it alone."""
    name, _, origin = plugin.rpartition(" (")
    namesakes = [one for one in installed_plugins() if _plain(one.name) == _plain(name)]
    alone = name if len(namesakes) < 2 else origin.partition(" ")[0]
    return f"set {DISABLE_VARIABLE}={alone} to go on without it"


def _asked() -> list[str]:
    return [name for part in os.environ.get(DISABLE_VARIABLE, "").split(",") if (name := part.strip())]


def _plain(name: str) -> str:
    """Return a name as package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()

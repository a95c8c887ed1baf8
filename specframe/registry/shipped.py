"""Data that plugins ship for targets, such as EAGLE heads and token frequencies: a folder per target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import attrs

from specframe.errors import PluginError

T = TypeVar("T")


@attrs.frozen(slots=True)
class ShippedFile:
    """A file and the plugin that ships it."""

    path: Path
    plugin: str

    def load(self, load: Callable[[Path], T]) -> T:
        """Return what ``load`` makes of the file.

        Raises:
            PluginError: it raised; the message names the plugin.
        """
        try:
            return load(self.path)
        except Exception as error:  # a stranger's file may hold anything
            line = " ".join(str(error).split())
            raise PluginError(
                f"plugin {self.plugin} ships a broken {self.path}: {line}; uninstall or disable it"
            ) from error


@attrs.frozen(slots=True)
class ShippedData:
    """Everything that ships.

    Attributes:
        folders: each with the plugin that ships it.
    """

    folders: tuple[tuple[Path, str], ...] = ()

    def files(self, name: str) -> list[ShippedFile]:
        """Return the files of a name, at most one per folder."""
        files = [ShippedFile(folder / name, plugin) for folder, plugin in self.folders]
        return [file for file in files if file.path.is_file()]

    def find(self, name: str, fits: Callable[[Path], bool]) -> ShippedFile | None:
        """Return the only file of a name that fits a target, or None where there is none.

        Raises:
            PluginError: a file cannot be read, or several fit; the message names their plugins.
        """
        found = [file for file in self.files(name) if file.load(fits)]
        if len(found) > 1:
            both = " and ".join(f"{file.path} of plugin {file.plugin}" for file in found[:2])
            raise PluginError(
                f"{both} are for the same target; uninstall or disable one of them, or name what to take"
            )
        return found[0] if found else None

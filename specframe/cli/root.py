"""The command line as a whole: its own commands and those of plugins, and who is to blame when one fails."""

from __future__ import annotations

import inspect
import os
from typing import Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from specframe.errors import PluginError, SpecframeError, one_line
from specframe.registry.commands import as_of_typer
from specframe.registry.installed import is_ours

# Shows where an error was raised, and what from.
TRACEBACK_VARIABLE = "SPECFRAME_TRACEBACK"

# They show what is wrong with plugins; every other command is refused until that is mended.
_DESPITE_BROKEN_PLUGINS = ("plugins", "doctor")


class Root(TyperGroup):
    """Runs commands; an exception of a plugin's command names the plugin.

    Attributes:
        plugins: by the name of a command that a plugin added: the plugin.
        broken: the errors of plugins that do not work.
    """

    plugins: dict[str, str]
    broken: list[PluginError]

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.plugins, self.broken = {}, []

    @classmethod
    def of(cls, context: typer.Context) -> Root:
        """Return the command line that a command runs in."""
        root = context.find_root().command
        assert isinstance(root, cls)
        return root

    def invoke(self, ctx: Any) -> None:
        """Run the command that was asked for; what it returns is not what it ends with.

        Raises:
            PluginError: a plugin does not work, and the command is none that shows what is wrong.
            SpecframeError: a plugin's command raised anything that was not meant for the user.
        """
        try:
            with as_of_typer():
                returned = super().invoke(ctx)
            if inspect.iscoroutine(returned):
                returned.close()
                raise TypeError("it is a coroutine; allowed: a function")
        except (SpecframeError, TyperException, typer.Exit, typer.Abort):
            raise
        except OSError as error:
            if error.filename is None:  # a pipe or a disk, and not a file that the command looked for
                raise
            self._blame(ctx.invoked_subcommand, error)
            raise
        except Exception as error:  # a stranger's command may raise anything
            self._blame(ctx.invoked_subcommand, error)
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command by its name; raises as ``invoke`` does."""
        try:
            name, command, rest = super().resolve_command(ctx, args)
        except TyperException:
            self._check(ctx, args)
            raise
        self._check(ctx, args)
        return name, command, rest

    def _check(self, ctx: Any, args: list[str]) -> None:
        """Raise the first error of the plugins before a command that may need what is missing."""
        completing = ctx.resilient_parsing  # for the shell, where nobody reads it
        if self.broken and not completing and args[0] not in _DESPITE_BROKEN_PLUGINS and "--help" not in args:
            raise self.broken[0]

    def _blame(self, command: str | None, error: Exception) -> None:
        plugin = self.plugins.get(command or "")
        if plugin is None or is_ours(plugin) or os.environ.get(TRACEBACK_VARIABLE):
            return
        raise SpecframeError(
            f"plugin {plugin} failed in its command {command}: {one_line(error)}; "
            f"{TRACEBACK_VARIABLE}=1 shows where"
        ) from error

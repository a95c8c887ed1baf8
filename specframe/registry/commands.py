"""Commands of plugins: what the hook ``specframe_register_commands`` is given, and what was added."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import click
import pluggy
import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command_name, get_group

from specframe.errors import PluginError, SpecframeError, UsageError
from specframe.registry.declaration import NAME
from specframe.registry.hooks import call_hook, in_the_name_of
from specframe.registry.installed import broken_plugin
from specframe.registry.manager import left_out

HOOK = "specframe_register_commands"


class Commands(typer.Typer):
    """What a plugin adds its commands to: a ``typer.Typer`` that takes commands of click as well."""

    def add_command(self, command: click.Command, name: str | None = None) -> None:
        """Add a command or a group that was made with click.

        Args:
            command: parses its arguments itself.
            name: what users type; None for the command's own.
        """

        def run(context: typer.Context) -> None:
            with command.make_context(context.command_path, context.args) as own:
                command.invoke(own)

        add = self.command(
            name or command.name,
            help=command.help,
            short_help=command.get_short_help_str(),
            add_help_option=False,  # the command has one
            context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        )
        add(run)


def commands_of_plugins(
    manager: pluggy.PluginManager, taken: Iterable[str], broken: list[PluginError] | None = None
) -> Mapping[str, tuple[TyperCommand | TyperGroup, str]]:
    """Return the commands that plugins add, by name, each with its plugin.

    Args:
        manager: has the plugins.
        taken: names of specframe's own commands.
        broken: takes the errors of plugins that do not work; None raises the first.

    Raises:
        PluginError: a hook raises, or adds what is no command or has a name that is taken.
    """
    owners = dict.fromkeys(taken, "specframe")
    added: dict[str, tuple[TyperCommand | TyperGroup, str]] = {}
    for name, plugin in manager.list_name_plugin():
        if plugin is None:  # a name that is blocked
            continue
        with left_out(broken):
            commands = _added_by(manager, name, plugin)
            for command in commands:
                if command in owners:
                    raise broken_plugin(name, f"adds the command {command!r}, which {owners[command]} has")
                if not NAME.fullmatch(command):
                    raise broken_plugin(
                        name, f"adds the command {command!r}; allowed: lower-case letters, digits and -"
                    )
            owners |= dict.fromkeys(commands, f"plugin {name}")
            added |= {command: (one, name) for command, one in commands.items()}
    return added


def _added_by(
    manager: pluggy.PluginManager, name: str, plugin: object
) -> Mapping[str, TyperCommand | TyperGroup]:
    """Return the commands that one plugin adds, by name."""
    cli = Commands(rich_markup_mode=None)
    call_hook(manager, HOOK, name, plugin, cli=cli)
    if cli.registered_callback is not None:
        raise broken_plugin(name, f"gives the command line a callback in {HOOK}(); allowed: commands")
    # Typer reads the functions' annotations only now.
    commands: Mapping[str, TyperCommand | TyperGroup] = in_the_name_of(name, HOOK, get_group, cli).commands
    names = Counter(
        one.name or get_command_name(one.callback.__name__) for one in cli.registered_commands if one.callback
    )
    for command, times in names.items():
        if times > 1:
            raise broken_plugin(name, f"adds the command {command!r} twice")
    return commands


@contextlib.contextmanager
def as_of_typer() -> Iterator[None]:
    """Raise exceptions of click as those of typer, or as errors: the two have some of the same names.

    Raises:
        SpecframeError: what click would have said to the user.
    """
    try:
        yield
    except click.exceptions.Exit as error:
        raise typer.Exit(error.exit_code) from None
    except click.exceptions.Abort:
        raise typer.Abort from None
    except click.ClickException as error:
        failure = UsageError if isinstance(error, click.UsageError) else SpecframeError
        raise failure(error.format_message()) from None

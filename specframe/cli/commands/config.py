"""``specframe config``."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import attrs
import typer

from specframe.cli.options import ABSENT, JsonOption, takes_options
from specframe.cli.settings import Shown, in_force, variables_of
from specframe.config import SETTINGS
from specframe.errors import UsageError, unknown_name

config_app = typer.Typer(help="Show which settings are in force.", rich_markup_mode=None)

# What commands that say nothing else have in common with it.
_RUN = "run"


@config_app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


# What follows the command is the command's.
@config_app.command("show", context_settings={"allow_interspersed_args": False})
@takes_options
def config_show(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND [OPTION...]]",
            help="A command, with options as they would be typed; without one, the settings of a run and "
            "whatever else is set.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Print the settings in force, and where each comes from.

    Options of this command come before COMMAND.
    """
    from specframe.ops.tables import print_table

    file, words = context.params["config"], command or []
    found = _of_command(context, words, file) if words else list(_of_all(context, file))
    if json:
        print(dumps([_plain(attrs.asdict(one)) for one in found]))
        return
    rows = [(one.name, _text(one), one.where, one.variable) for one in found]
    print_table(rows, headers=("setting", "value", "from", "variable"))


def _of_command(context: typer.Context, words: list[str], file: Path | None) -> list[Shown]:
    """Return the settings of one command, with options as they would be typed after it."""
    above: Any = context.find_root()
    while True:
        names = above.command.list_commands(above)
        if words[0] not in names:
            raise unknown_name("command", words[0], names)
        name, *words = words
        chosen = above.command.get_command(above, name)
        if not (words and hasattr(chosen, "list_commands") and words[0] in chosen.list_commands(above)):
            break
        above = typer.Context(chosen, parent=above, info_name=name)
    wanted = [] if file is None or "--config" in words else ["--config", str(file)]
    if ABSENT not in vars(chosen.callback or _of_command):
        raise UsageError(f"command {name!r} has no settings; allowed: {', '.join(_with_settings(context))}")
    return _parsed(chosen, above, name, [*wanted, *words])


def _of_all(context: typer.Context, file: Path | None) -> Iterator[Shown]:
    """Yield the settings of a run, and those of any command that are not by default."""
    of_run = _of_command(context, [_RUN], file)
    yield from (one for one in of_run if one.name in SETTINGS or "." in one.name)
    for path in _with_settings(context):
        for one in _of_command(context, path.split(), file):
            table = path.replace(" ", ".")
            if f"[{table}" in one.where or one.where.startswith(variables_of(path.split())):
                yield attrs.evolve(one, name=f"{table}.{one.name}")


def _with_settings(context: typer.Context) -> list[str]:
    """Return the commands that take settings, by their words."""
    found: list[str] = []

    def look(above: Any, path: list[str]) -> None:
        for name in above.command.list_commands(above):
            one = above.command.get_command(above, name)
            if ABSENT in vars(one.callback or look):
                found.append(" ".join([*path, name]))
            if hasattr(one, "list_commands"):
                look(typer.Context(one, parent=above, info_name=name), [*path, name])

    look(context.find_root(), [])
    return found


def _parsed(command: Any, above: Any, name: str, words: list[str]) -> list[Shown]:
    """Return the settings of a command that is parsed and not run; arguments need not be there."""
    command = copy.copy(command)
    command.params = [copy.copy(parameter) for parameter in command.params]
    for parameter in command.params:
        parameter.required = False
    absent: Mapping[str, str] = vars(command.callback)[ABSENT]
    with command.make_context(name, words, parent=above) as context:
        return in_force(context, absent)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return a row as JSON takes it."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


def _text(one: Shown) -> str:
    if one.value is None or one.value == []:
        return one.absent
    if isinstance(one.value, bool):
        return str(one.value).lower()
    return ", ".join(map(str, one.value)) if isinstance(one.value, list | tuple) else str(one.value)

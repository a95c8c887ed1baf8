"""The command line: its commands, and what the user got wrong in one line."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import Annotated, NoReturn

import typer
from typer.exceptions import Abort, TyperException
from typer.main import get_command

from specframe.cli.commands.chat import chat
from specframe.cli.commands.config import config_app
from specframe.cli.commands.doctor import doctor
from specframe.cli.commands.export import export_app
from specframe.cli.commands.models import models
from specframe.cli.commands.new import new
from specframe.cli.commands.plugins import plugins_app
from specframe.cli.commands.run import run
from specframe.cli.commands.train import train_app
from specframe.cli.commands.vocab import vocab_app
from specframe.cli.root import TRACEBACK_VARIABLE, Root
from specframe.errors import SpecframeError
from specframe.registry.commands import commands_of_plugins
from specframe.registry.manager import create_plugin_manager

app = typer.Typer(
    name="specframe",
    help="Vocabulary-pruned speculative decoding: draft over a small active vocabulary, get exactly the "
    "target's output.",
    cls=Root,
    # Rich help cuts long names off at 80 columns.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (run, chat, models, doctor, new):
    app.command()(command)
app.add_typer(plugins_app, name="plugins")
app.add_typer(config_app, name="config")
app.add_typer(train_app, name="train")
app.add_typer(export_app, name="export")
app.add_typer(vocab_app, name="vocab")


# What a write can end in. Only standard output has no name to say with it.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def command_line() -> Root:
    """Return the command line with what the installed plugins add to it."""
    root = get_command(app)
    assert isinstance(root, Root)
    manager = create_plugin_manager(broken=root.broken)
    for name, (command, plugin) in commands_of_plugins(manager, root.commands, root.broken).items():
        root.add_command(command, name)
        root.plugins[name] = plugin
    return root


def main() -> None:
    """Run the command line; what the user got wrong becomes one line on standard error."""
    if hasattr(sys.stdout, "reconfigure"):
        # Text of any language must not fail on a terminal that cannot show it.
        sys.stdout.reconfigure(errors="replace")
    try:
        code = command_line().main(prog_name="specframe", standalone_mode=False)
        sys.stdout.flush()
    except SpecframeError as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            traceback.print_exception(error)
        _fail(str(error), error.exit_code)
    except TyperException as error:
        _fail(error.format_message(), error.exit_code)
    except (Abort, KeyboardInterrupt):
        code = 130
    except OSError as error:
        if error.errno not in _DISK_ERRORS or error.filename is not None:
            raise
        # What is left in the buffer would fail once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _fail(f"cannot write to standard output: {error.strerror}", 1)
    sys.exit(code)


def _fail(message: str, exit_code: int) -> NoReturn:
    print("specframe:", " ".join(message.split()), file=sys.stderr)
    sys.exit(exit_code)


def _print_version(wanted: bool) -> None:
    if wanted:
        from specframe import __version__

        print(__version__)
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())

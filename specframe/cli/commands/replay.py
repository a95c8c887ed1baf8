"""The plugin ``specframe-replay``: the command ``replay``."""

from __future__ import annotations

from specframe.cli.options import takes_options
from specframe.registry.commands import Commands
from specframe.registry.hookspecs import hookimpl
from specframe.replay.arguments import ReplayArguments


@hookimpl
def specframe_register_commands(cli: Commands) -> None:
    """Add the command."""
    cli.command()(replay)


@takes_options
def replay(arguments: ReplayArguments) -> None:
    """Score vocabulary strategies from a trace, without the model."""
    from specframe.replay.command import run_replay

    run_replay(arguments)

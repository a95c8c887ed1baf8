"""``specframe replay``."""

from __future__ import annotations

from specframe.cli.options import takes_options
from specframe.replay.arguments import ReplayArguments


@takes_options
def replay(arguments: ReplayArguments) -> None:
    """Score vocabulary strategies from a trace, without the model."""
    from specframe.replay.command import run_replay

    run_replay(arguments)

"""Training of an EAGLE head on text that the target writes itself."""

from __future__ import annotations

from specframe.registry.components import TrainingDataCommands, TrainRequest


def train(request: TrainRequest) -> None:
    """Make a head for a target; see `command.train`."""
    # Imported when asked for: listing drafters needs none of it.
    from specframe_plugins.training import command

    command.train(request)


def data_commands() -> TrainingDataCommands:
    """Return what `specframe train data` runs; see `data.TokenData`."""
    from specframe_plugins.training.data import TokenData

    return TokenData()

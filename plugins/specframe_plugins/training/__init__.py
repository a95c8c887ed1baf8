"""Training of a drafter's head on text that the target writes itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specframe.registry.components import TrainRequest

if TYPE_CHECKING:
    from specframe_plugins.training.architecture import Architecture


def train(request: TrainRequest, architecture: Architecture[Any]) -> None:
    """Make a head for a target; see `command.train`."""
    # Imported when asked for: listing drafters needs none of it.
    from specframe_plugins.training import command

    command.train(request, architecture)

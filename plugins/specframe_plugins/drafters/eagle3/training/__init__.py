"""Training of an EAGLE-3 head on text that the target writes itself."""

from __future__ import annotations

from specframe.registry.components import TrainRequest


def train(request: TrainRequest) -> None:
    """Make a head for a target; see `specframe_plugins.training.command.train`."""
    # Imported when asked for: listing drafters needs none of it.
    from specframe_plugins.drafters.eagle3.training.architecture import Eagle3Architecture
    from specframe_plugins.training import command

    options = request.options
    command.train(
        request,
        Eagle3Architecture(own_lm_head=options.lm_head == "own", induction_groups=options.induction_groups),
    )

"""From a request on the command line to a drafter's own training."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from specframe.config import split_assignment
from specframe.contracts.options import build_options
from specframe.errors import UsageError
from specframe.model.loading import default_model
from specframe.registry.components import Component, TrainingDataCommands, TrainRequest
from specframe.registry.manager import build_registry, create_plugin_manager


def trainable(drafter: str) -> Component:
    """Return a drafter that can be trained.

    Raises:
        UsageError: it is unknown, or cannot be trained.
    """
    registry = build_registry(create_plugin_manager())
    component = registry.get("drafter", drafter)
    if component.train is None or component.train_options is None:
        names = [name for name in registry.names("drafter") if registry.get("drafter", name).train]
        raise UsageError(
            f"drafter {drafter!r} cannot be trained; allowed: {', '.join(names) or '(none installed)'}"
        )
    return component


def data_commands(drafter: str) -> TrainingDataCommands:
    """Return what can be done with the data that a drafter is trained on; raises as ``trainable`` does.

    Raises:
        UsageError: the drafter has no commands for them.
    """
    component = trainable(drafter)
    if component.train_data is None:
        raise UsageError(f"drafter {drafter!r} has no commands for training data")
    return component.train_data()


def train_request(
    component: Component, model: str | None, out: Path, assignments: Iterable[str]
) -> TrainRequest:
    """Return what a drafter is asked to train, or to make data for.

    Args:
        component: the drafter.
        model: the target; None for an installed demo model.
        out: directory of the checkpoint, or folder of the data.
        assignments: training options as ``name=value``.

    Raises:
        UsageError: an option does not fit.
    """
    assert component.train_options is not None
    options = dict(map(split_assignment, assignments))
    built = build_options(component.train_options, options, f"the training of drafter {component.name!r}")
    return TrainRequest(model=model or default_model(), out=out, options=built)

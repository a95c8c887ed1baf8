"""From a request on the command line to a drafter's own training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pluggy

from specframe.contracts.options import build_options
from specframe.errors import UsageError
from specframe.model.loading import default_model
from specframe.registry.components import Component, TrainingDataCommands, TrainRequest
from specframe.registry.manager import build_registry, create_plugin_manager


def train_drafter(
    drafter: str,
    model: str | None,
    out: Path,
    options: Mapping[str, str],
    *,
    manager: pluggy.PluginManager | None = None,
) -> None:
    """Train a drafter and write its checkpoint.

    Args:
        drafter: its name.
        model: the target; None for an installed demo model.
        out: directory of the checkpoint.
        options: training option name to value.
        manager: plugin manager; by default a fresh one with every installed plugin.

    Raises:
        UsageError: the drafter is unknown or cannot be trained, or an option does not fit.
    """
    component = _trainable(drafter, manager)
    assert component.train is not None
    component.train(_request(component, model, out, options))


def describe_data(
    drafter: str, folders: Sequence[Path], *, manager: pluggy.PluginManager | None = None
) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Return column titles and rows that say what folders of training data hold.

    Raises:
        UsageError: the drafter has no data commands, or a folder has no data.
    """
    return _data_commands(drafter, manager).describe(folders)


def merge_data(
    drafter: str,
    out: Path,
    folders: Sequence[Path],
    share: float = 1.0,
    *,
    manager: pluggy.PluginManager | None = None,
) -> int:
    """Copy the training data of several folders into one; return how many tokens it then has.

    Args:
        drafter: whose data they are.
        out: where to.
        folders: where from.
        share: of the data, above 0 and at most 1; a smaller share is part of every larger one.
        manager: plugin manager; by default a fresh one with every installed plugin.

    Raises:
        UsageError: the drafter has no data commands, the data do not belong together, or the share is none.
    """
    if not 0 < share <= 1:
        raise UsageError(f"share is {share:g}; allowed: above 0, at most 1")
    return _data_commands(drafter, manager).merge(out, folders, share)


def top_up_data(
    drafter: str,
    model: str | None,
    out: Path,
    options: Mapping[str, str],
    *,
    manager: pluggy.PluginManager | None = None,
) -> int:
    """Generate training data until a folder has what the options ask for; return how many tokens it has.

    Raises:
        UsageError: the drafter has no data commands, or an option does not fit.
    """
    request = _request(_trainable(drafter, manager), model, out, options)
    return _data_commands(drafter, manager).top_up(request)


def _trainable(drafter: str, manager: pluggy.PluginManager | None) -> Component:
    registry = build_registry(manager or create_plugin_manager())
    component = registry.get("drafter", drafter)
    if component.train is None or component.train_options is None:
        trainable = [name for name in registry.names("drafter") if registry.get("drafter", name).train]
        raise UsageError(
            f"drafter {drafter!r} cannot be trained; allowed: {', '.join(trainable) or '(none installed)'}"
        )
    return component


def _data_commands(drafter: str, manager: pluggy.PluginManager | None) -> TrainingDataCommands:
    component = _trainable(drafter, manager)
    if component.train_data is None:
        raise UsageError(f"drafter {drafter!r} has no commands for training data")
    return component.train_data()


def _request(component: Component, model: str | None, out: Path, options: Mapping[str, str]) -> TrainRequest:
    assert component.train_options is not None
    built = build_options(component.train_options, options, f"the training of drafter {component.name!r}")
    return TrainRequest(model=model or default_model(), out=out, options=built)

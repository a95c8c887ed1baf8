"""From a request on the command line to a drafter's own training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pluggy

from specframe.components import TrainRequest
from specframe.errors import UsageError
from specframe.models import default_model
from specframe.options import build_options
from specframe.plugins import build_registry, create_plugin_manager


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
    registry = build_registry(manager or create_plugin_manager())
    component = registry.get("drafter", drafter)
    if component.train is None or component.train_options is None:
        trainable = [name for name in registry.names("drafter") if registry.get("drafter", name).train]
        raise UsageError(
            f"drafter {drafter!r} cannot be trained; allowed: {', '.join(trainable) or '(none installed)'}"
        )
    built = build_options(component.train_options, options, f"the training of drafter {drafter!r}")
    component.train(TrainRequest(model=model or default_model(), out=out, options=built))

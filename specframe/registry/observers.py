"""Dispatches the observer hooks, and nothing when nobody listens."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pluggy

from specframe.config import RunConfig
from specframe.contracts.report import GenerationReport, StepStats
from specframe.errors import SpecframeError


class Observers:
    """The plugins that watch generations.

    Args:
        manager: the plugin manager; None observes nothing.
    """

    def __init__(self, manager: pluggy.PluginManager | None = None) -> None:
        self._hook = manager.hook if manager else None
        # Looked up once: a hook call per step is paid only when somebody listens.
        self._watches_steps = bool(manager and manager.hook.specframe_step_finished.get_hookimpls())

    def generation_started(self, config: RunConfig) -> None:
        """Tell everybody that a generation starts."""
        if self._hook:
            _tell(self._hook.specframe_generation_started, config=config)

    def step_finished(self, stats: Callable[[], StepStats]) -> None:
        """Tell everybody who listens that a target pass is done; ``stats`` is called only then."""
        if self._hook and self._watches_steps:
            _tell(self._hook.specframe_step_finished, stats=stats())

    def generation_finished(self, report: GenerationReport) -> None:
        """Tell everybody that a generation is over."""
        if self._hook:
            _tell(self._hook.specframe_generation_finished, report=report)


def _tell(hook: pluggy.HookCaller, **event: Any) -> None:
    """Call a hook; what an observer raises becomes one line that names its plugin."""
    try:
        hook(**event)
    except Exception as error:
        running = {frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)}
        for implementation in hook.get_hookimpls():
            if getattr(implementation.function, "__code__", None) in running:
                raise SpecframeError(
                    f"plugin {implementation.plugin_name} raised in {hook.name}(): "
                    f"{type(error).__name__}: {error}"
                ) from error
        raise

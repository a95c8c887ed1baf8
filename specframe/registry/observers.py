"""Dispatches the observer hooks, and nothing when nobody listens."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import pluggy

from specframe.config import RunConfig
from specframe.contracts.report import GenerationReport, StepStats
from specframe.errors import one_line
from specframe.registry.manager import hook_of

_log = logging.getLogger(__name__)


class Observers:
    """The plugins that watch generations.

    Args:
        manager: the plugin manager; None observes nothing.
    """

    def __init__(self, manager: pluggy.PluginManager | None = None) -> None:
        # Looked up once: a hook call per step is paid only when somebody listens.
        self._started = _callers(manager, "specframe_generation_started")
        self._stepped = _callers(manager, "specframe_step_finished")
        self._finished = _callers(manager, "specframe_generation_finished")

    def generation_started(self, config: RunConfig) -> None:
        """Tell everybody that a generation starts."""
        _tell(self._started, config=config)

    def step_finished(self, stats: Callable[[], StepStats], config: RunConfig) -> None:
        """Tell everybody who listens that a target pass is done; ``stats`` is called only then."""
        if self._stepped:
            _tell(self._stepped, stats=stats(), config=config)

    def generation_finished(self, report: GenerationReport) -> None:
        """Tell everybody that a generation is over; whatever they do to the report is done to a copy."""
        if self._finished:
            _tell(self._finished, report=copy.deepcopy(report))


def _callers(manager: pluggy.PluginManager | None, hook: str) -> list[tuple[str, pluggy.HookCaller]]:
    """Return name and caller of each plugin that implements a hook, in the order of calls."""
    if manager is None:
        return []
    implementations = getattr(manager.hook, hook).get_hookimpls()
    return [(one.plugin_name, hook_of(manager, hook, one.plugin)) for one in reversed(implementations)]


def _tell(callers: list[tuple[str, pluggy.HookCaller]], **event: Any) -> None:
    """Call plugins in turn; one that raises is named in a warning, and its hook is called no more."""
    for name, caller in list(callers):
        try:
            caller(**event)
        except Exception as error:  # a stranger's code may raise anything, and only watches
            callers.remove((name, caller))
            _log.warning(
                "plugin %s raised in %s(), which is called no more: %s", name, caller.name, one_line(error)
            )

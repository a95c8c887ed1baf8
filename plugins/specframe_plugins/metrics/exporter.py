"""Metrics with a place of their own, for those who set a variable and write no code."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from specframe.registry.hookspecs import hookimpl
from specframe_plugins.metrics.observer import Metrics
from specframe_plugins.metrics.places import Place


class Exporter(Metrics):
    """Counts target passes and shows the sums at a place; nothing is opened before the first generation.

    Args:
        place: where they go.
    """

    def __init__(self, place: Place) -> None:
        # Of its own: in the process's registry a server that runs this engine may have the same names.
        self._registry = CollectorRegistry()
        super().__init__(self._registry)
        self._place = place
        self._opened = False

    @hookimpl
    def specframe_generation_started(self) -> None:
        """Open the place, once: what cannot be opened is told once too."""
        if not self._opened:
            self._opened = True
            self._place.open(self._registry)

    @hookimpl
    def specframe_generation_finished(self) -> None:
        """Write what has changed."""
        self._place.write(self._registry)

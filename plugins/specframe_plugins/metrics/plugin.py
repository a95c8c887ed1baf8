"""The entry point: an observer where a variable asks for it, and nothing that listens elsewhere.

``PLUGIN`` is made anew whenever it is asked for, so every plugin manager goes by the variable as it is then.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

from specframe.errors import UsageError

if TYPE_CHECKING:
    from specframe_plugins.metrics.exporter import Exporter

VARIABLE = "SPECFRAME_METRICS"


class Silent:
    """A plugin without hooks."""


def __getattr__(name: str) -> Any:
    if name != "PLUGIN":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    asked = os.environ.get(VARIABLE, "").strip()
    return _exporter(asked) if asked else Silent()


@functools.cache  # the engines of a process count together, and listen on one port
def _exporter(asked: str) -> Exporter:
    try:
        from specframe_plugins.metrics.exporter import Exporter
        from specframe_plugins.metrics.places import place_of
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        raise UsageError(
            f"{VARIABLE} is {asked!r}, which needs prometheus-client: pip install 'specframe[metrics]'"
        ) from None
    return Exporter(place_of(asked, VARIABLE))

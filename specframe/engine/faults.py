"""Going on without the components that draft, where one of them fails before the first request."""

from __future__ import annotations

import logging

import attrs

from specframe.config import AUTOREGRESSIVE, RunConfig
from specframe.contracts.faults import ComponentError

_log = logging.getLogger(__name__)


def without_drafting(config: RunConfig, error: ComponentError) -> RunConfig:
    """Return the config of a run without drafting, where the user allows that.

    Args:
        config: of the run.
        error: that a component failed with.

    Raises:
        ComponentError: the given one, where nothing else is allowed, or a verifier failed.
    """
    if not config.fallback or error.kind == "verifier" or config.strategy == AUTOREGRESSIVE:
        raise error
    _log.warning("specframe goes on without drafting: %s", error)
    return attrs.evolve(config, strategy=AUTOREGRESSIVE, warm="off")

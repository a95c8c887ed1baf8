"""Vocabulary-pruned speculative decoding with plugins.

The names below are imported when they are asked for: torch takes seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from specframe.config import RunConfig
    from specframe.contracts.sampling import SamplingParams
    from specframe.engine.assembly import build_engine
    from specframe.engine.engine import Engine
    from specframe.request.request import Request

__all__ = ["Engine", "Request", "RunConfig", "SamplingParams", "build_engine"]
__version__: str  # asked for late, since looking it up takes as long as the rest of this import

_HOMES = {
    "Engine": "engine.engine",
    "Request": "request.request",
    "RunConfig": "config",
    "SamplingParams": "contracts.sampling",
    "build_engine": "engine.assembly",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("specframe")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

"""The config of an engine, looked at as soon as it is made: before a process or a model is loaded for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vllm.logger import init_logger

from specframe.errors import SpecframeError
from specframe_vllm import preflight
from specframe_vllm.compatibility import CONFIGURE
from specframe_vllm.hooks.wrapping import wrap

_log = init_logger("vllm.specframe")


def install() -> None:
    """Listen to what makes configs."""
    wrap(CONFIGURE.find(), CONFIGURE.method, _create_engine_config)


def _create_engine_config(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    config = original(self, *args, **kwargs)
    try:
        preflight.check(config)
    except SpecframeError as error:
        _log.error("specframe: %s", error)  # the line that ends the traceback, findable in a log
        raise
    return config

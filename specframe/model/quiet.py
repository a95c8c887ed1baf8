"""transformers without its progress bars and warnings."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from specframe.ops.progress_line import can_show


@contextlib.contextmanager
def quiet_transformers(*, downloads: bool = False) -> Iterator[None]:
    """Silence progress bars and warnings of transformers; its errors still reach the caller.

    Args:
        downloads: files may come from the hub, which takes long: on a terminal it shows how far it is.
    """
    from huggingface_hub import utils
    from transformers.utils import logging as untyped

    logging: Any = untyped
    hub: Any = utils
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_bars = not hub.are_progress_bars_disabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if downloads and hub_bars and can_show():
        hub.enable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            with warnings.catch_warnings():  # of the hub, where the user's environment switches its bars off
                warnings.simplefilter("ignore")
                logging.enable_progress_bar()
        (hub.enable_progress_bars if hub_bars else hub.disable_progress_bars)()

"""EAGLE heads and token frequencies of the demo models."""

from collections.abc import Iterable
from pathlib import Path

from specframe.registry.hookspecs import hookimpl


@hookimpl
def specframe_data_directories() -> Iterable[Path]:
    """Return the directory with a folder per demo model."""
    return [Path(__file__).with_name("data")]

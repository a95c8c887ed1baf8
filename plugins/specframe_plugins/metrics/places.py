"""Where metrics go: an address that Prometheus reads, or a file of its text."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Protocol

import attrs
from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile

from specframe.errors import SpecframeError, UsageError

_log = logging.getLogger(__name__)

_HERE = "127.0.0.1"
_ADDRESS = re.compile(r"(?:(?P<host>[^:/\s]+|\[[0-9a-fA-F:]+\]):)?(?P<port>\d+)")


class Place(Protocol):
    """Where the metrics of a process go."""

    def open(self, registry: CollectorRegistry) -> None:
        """Get ready before the first generation."""

    def write(self, registry: CollectorRegistry) -> None:
        """Write what a generation has changed."""


@attrs.frozen(slots=True)
class Address(Place):
    """Answers whoever asks for ``/metrics``, as long as the process lives."""

    host: str
    port: int

    def open(self, registry: CollectorRegistry) -> None:
        """Begin to listen.

        Raises:
            SpecframeError: nobody may listen there, as where somebody does.
        """
        try:
            start_http_server(self.port, self.host, registry)
        except OSError as error:
            raise SpecframeError(
                f"cannot listen on {self.host}:{self.port}: {error.strerror}; allowed: a port that is free"
            ) from None
        _log.info("metrics are at http://%s:%d/metrics", self.host, self.port)

    def write(self, registry: CollectorRegistry) -> None:
        """Do nothing: it is read when somebody asks."""


@attrs.frozen(slots=True)
class TextFile(Place):
    """A file that is written after every generation, all at once."""

    path: Path

    def open(self, registry: CollectorRegistry) -> None:
        """Write it for the first time."""
        self.write(registry)

    def write(self, registry: CollectorRegistry) -> None:
        """Write the metrics as they are.

        Raises:
            SpecframeError: the file cannot be written.
        """
        try:
            write_to_textfile(str(self.path), registry)
        except OSError as error:
            raise SpecframeError(f"cannot write {self.path}: {error.strerror}") from None


def place_of(text: str, variable: str) -> Place:
    """Return the place that a variable names.

    Raises:
        UsageError: it is neither ``PORT``, ``HOST:PORT`` nor a file ``.prom`` in a folder that is there.
    """
    if (address := _ADDRESS.fullmatch(text)) and 0 < int(address["port"]) < 2**16:
        return Address((address["host"] or _HERE).strip("[]"), int(address["port"]))
    path = Path(text).expanduser()
    if path.suffix == ".prom" and path.parent.is_dir() and not path.is_dir():
        return TextFile(path)
    raise UsageError(
        f"{variable} is {text!r}; allowed: PORT or HOST:PORT, from 1 to 65535, or a file FOLDER/NAME.prom in "
        "a folder that is there"
    )

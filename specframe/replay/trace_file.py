"""Traces on disk: one file that grows by one compressed, checked frame per request.

Layout: the magic line, then frames. A frame is the length and the CRC-32 of its payload, little-endian
uint32 each, and the payload, compressed with zlib. The first payload is the header as JSON; each further one
is a request as safetensors, with its id and task in the metadata. A frame that an interrupt cut off is
found by its length, and an appending writer goes on in its place.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Literal

import attrs
from safetensors import SafetensorError
from safetensors.torch import load, save

from specframe.contracts.records import structure
from specframe.errors import SpecframeError, UsageError
from specframe.replay.trace import READABLE, TracedRequest, TraceHeader

MAGIC = b"specframe trace\n"
_FRAME = struct.Struct("<II")
# May differ between parts of one trace: they change nothing of what is recorded. Requests without hidden
# states are the same in both formats.
_FREE_FIELDS = ("specframe_version", "format")


@attrs.frozen(slots=True, eq=False)
class Trace:
    """A whole trace: its header and its requests, in the order of recording."""

    header: TraceHeader
    requests: list[TracedRequest]


class TraceError(UsageError):
    """A trace is missing, cut off, damaged, or of another version."""


def read_trace(path: Path) -> Trace:
    """Return everything in a trace.

    Raises:
        TraceError: the file is missing, no trace, cut off, damaged, or of another version.
    """
    with _open(path, "rb") as file:
        header = _read_header(file, path)
        requests: list[TracedRequest] = []
        for start, payload in _frames(file, path):
            if payload is None:
                raise TraceError(
                    f"trace {path} is cut off after {len(requests)} requests, at byte {start}; recording "
                    "into it again goes on from there"
                )
            requests.append(_request(payload, path, len(requests)))
    if not requests:
        raise TraceError(f"trace {path} holds no request")
    return Trace(header, requests)


class TraceWriter:
    """Appends requests to a trace; a request that the trace has already is left out.

    Args:
        path: a new file, or a trace with the same header, whose cut-off end is removed.
        header: of the recording.

    Attributes:
        recorded: task and id of every request in the trace.

    Raises:
        TraceError: the file is no trace, damaged, or was recorded from something else.
        SpecframeError: the file cannot be written.
    """

    def __init__(self, path: Path, header: TraceHeader) -> None:
        self.recorded: set[tuple[str, str]] = set()
        self._path = path
        if path.exists() and path.stat().st_size:
            self._file = _open(path, "r+b")
            try:
                self._resume(header)
            except BaseException:
                self._file.close()
                raise
        else:
            self._file = _open(path, "wb")
            self._append(json.dumps(attrs.asdict(header)).encode(), MAGIC)

    def _resume(self, header: TraceHeader) -> None:
        found, path = _read_header(self._file, self._path), self._path
        now = attrs.asdict(header, recurse=False)
        for name, old in attrs.asdict(found, recurse=False).items():
            if old != now[name] and name not in _FREE_FIELDS:
                raise TraceError(
                    f"trace {path} was recorded with {name} {_short(old)}, and not {_short(now[name])}; "
                    "allowed: another file, or the same setting"
                )
        for start, payload in _frames(self._file, path):
            if payload is None:
                self._file.seek(start)
                self._file.truncate()
                break
            request = _request(payload, path, len(self.recorded))
            self.recorded.add((request.task, request.id))

    def append(self, request: TracedRequest) -> None:
        """Add a request and hand it to the operating system.

        Raises:
            SpecframeError: the file cannot be written; what it held before stays readable.
        """
        if (request.task, request.id) in self.recorded:
            return
        arrays = attrs.asdict(request, recurse=False)
        names = {name: arrays.pop(name) for name in ("id", "task")}
        there = {name: array.contiguous() for name, array in arrays.items() if array is not None}
        self._append(save(there, names))
        self.recorded.add((request.task, request.id))

    def _append(self, content: bytes, before: bytes = b"") -> None:
        payload = zlib.compress(content)
        rest = memoryview(before + _FRAME.pack(len(payload), zlib.crc32(payload)) + payload)
        start = self._file.tell()
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._file.truncate(start)
            self._file.seek(start)
            raise SpecframeError(f"cannot write trace {self._path}: {error.strerror}") from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _open(path: Path, mode: Literal["rb", "r+b", "wb"]) -> FileIO:
    try:
        # Unbuffered, so that what could not be written is known and not kept for later.
        return path.open(mode, buffering=0)
    except OSError as error:
        raise TraceError(f"cannot open trace {path}: {error.strerror}") from None


def _frames(file: FileIO, path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Yield where each frame starts, and its payload; None for a frame that ends too early.

    Raises:
        TraceError: a payload does not fit its checksum.
    """
    while True:
        start = file.tell()
        prefix = file.read(_FRAME.size)
        if not prefix:
            return
        length, checksum = _FRAME.unpack(prefix) if len(prefix) == _FRAME.size else (0, 0)
        payload = file.read(length)
        if len(prefix) < _FRAME.size or len(payload) < length:
            yield start, None
            return
        if zlib.crc32(payload) != checksum:
            raise TraceError(f"trace {path} is damaged at byte {start}: the checksum does not fit")
        yield start, zlib.decompress(payload)


def _read_header(file: FileIO, path: Path) -> TraceHeader:
    if file.read(len(MAGIC)) != MAGIC:
        raise TraceError(f"{path} is no trace; allowed: a file written by --record")
    _, payload = next(_frames(file, path), (0, None))
    if payload is None:
        raise TraceError(f"trace {path} is cut off in its header; remove it and record again")
    content = json.loads(payload)
    if content.get("format") not in READABLE:
        known = " and ".join(map(str, READABLE))
        raise TraceError(
            f"trace {path} has format {content.get('format')}, and this version reads formats {known}; "
            "record it again"
        )
    try:
        return structure(TraceHeader, content)
    except ValueError as error:
        raise TraceError(f"trace {path} is damaged: its header cannot be read ({error})") from None


def _request(payload: bytes, path: Path, index: int) -> TracedRequest:
    try:
        # The metadata stands in the JSON at the start; `load` hands out only the tensors.
        metadata = json.loads(payload[8 : 8 + int.from_bytes(payload[:8], "little")])["__metadata__"]
        return TracedRequest(id=metadata["id"], task=metadata["task"], **load(payload))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise TraceError(f"trace {path} is damaged: request {index} cannot be read ({error})") from None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

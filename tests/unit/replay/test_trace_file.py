from __future__ import annotations

import json
import resource
import signal
import struct
import zlib
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from specframe.contracts.tree import DraftTree, Verdict
from specframe.errors import SpecframeError
from specframe.replay.trace import TracedPass, TracedRequest, TraceHeader, from_passes
from specframe.replay.trace_file import MAGIC, TraceError, TraceWriter, read_trace


def header(**changes: Any) -> TraceHeader:
    settings = {
        "model": "m",
        "tokenizer_fingerprint": "abc",
        "dtype": "bfloat16",
        "vocab_size": 100,
        "hidden_size": 8,
        "draft_ids": None,
        "required_ids": (1, 2),
        "stop_ids": (1,),
        "topk": 2,
        "prompt_window": 4,
        "strategy": "full",
        "drafter": "eagle",
        "branching": 2,
        "max_depth": 3,
        "max_nodes": 8,
    }
    return TraceHeader(**{**settings, **changes})


def request(id: str = "a", task: str = "t") -> TracedRequest:
    tree = DraftTree(
        torch.tensor([10, 11, 12]),
        torch.tensor([-1, 0, 0]),
        torch.tensor([0, 1, 1]),
        torch.tensor([0.0, -0.1, -2.5]),
    )
    leaf = Verdict(path=(0, 2), accepted_ids=(12,), next_token=50, path_ends_at_leaf=True)
    rejected = Verdict(path=(0,), accepted_ids=(), next_token=9, path_ends_at_leaf=False)
    topk_ids = torch.tensor([[12, 31], [32, 33], [50, 35]])
    passes = [TracedPass(tree, leaf, 2, topk_ids), TracedPass(tree, rejected, 1, topk_ids)]
    return from_passes(id, task, torch.tensor([5, 6, 5]), torch.tensor([[20, 21], [10, 20]]), passes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trace"


def write(path: Path, *requests: TracedRequest, **changes: Any) -> None:
    with TraceWriter(path, header(**changes)) as writer:
        for one in requests:
            writer.append(one)


def test_a_trace_is_read_as_it_was_written(path: Path) -> None:
    written = [request("a"), request("b")]
    write(path, *written)
    trace = read_trace(path)
    assert trace.header == header()
    for before, after in zip(written, trace.requests, strict=True):
        old, new = (attrs.asdict(one, recurse=False) for one in (before, after))
        assert [new.pop(name) for name in ("id", "task")] == [old.pop(name) for name in ("id", "task")]
        assert [old.pop(name) for name in ("head_calls", "states", "hidden")] == [None] * 3
        assert all(torch.equal(array, new[name]) for name, array in old.items())


def test_a_verdict_comes_back_whole(path: Path) -> None:
    write(path, request())
    first, second = read_trace(path).requests[0].passes
    assert first.verdict == Verdict((0, 2), (12,), 50, path_ends_at_leaf=True)
    assert second.verdict == Verdict((0,), (), 9, path_ends_at_leaf=False)
    assert (first.emitted, second.emitted) == (2, 1)


def test_a_trace_is_gone_on_with_and_no_request_is_doubled(path: Path) -> None:
    write(path, request("a"))
    write(path, request("a"), request("b"), request("b", task="other"))
    assert [(one.id, one.task) for one in read_trace(path).requests] == [
        ("a", "t"),
        ("b", "t"),
        ("b", "other"),
    ]


def test_an_end_that_was_cut_off_is_named_and_removed_by_the_next_recording(path: Path) -> None:
    write(path, request("a"))
    whole = path.stat().st_size
    write(path, request("b"))
    content = path.read_bytes()
    for length in (whole + 1, whole + 9, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(TraceError, match=f"is cut off after 1 requests, at byte {whole}"):
            read_trace(path)
        write(path, request("b"))
        assert [one.id for one in read_trace(path).requests] == ["a", "b"]


@pytest.mark.parametrize("place", [0.5, 0.9])
def test_a_damaged_byte_is_named(path: Path, place: float) -> None:
    write(path, request("a"), request("b"))
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(TraceError, match=r"is damaged at byte \d+: the checksum does not fit"):
        read_trace(path)


def test_a_request_that_lacks_an_array_is_named(path: Path) -> None:
    write(path, request("a"))
    payload = zlib.compress(struct.pack("<Q", 40) + b'{"__metadata__":{"id":"b","task":"t"}}  ')
    with path.open("ab") as file:
        file.write(struct.pack("<II", len(payload), zlib.crc32(payload)) + payload)
    with pytest.raises(TraceError, match="is damaged: request 1 cannot be read"):
        read_trace(path)


def test_another_version_is_refused(path: Path) -> None:
    payload = zlib.compress(json.dumps({**attrs.asdict(header()), "format": 99}).encode())
    path.write_bytes(MAGIC + struct.pack("<II", len(payload), zlib.crc32(payload)) + payload)
    with pytest.raises(TraceError, match="has format 99, and this version reads formats 1 and 2"):
        read_trace(path)


def test_a_file_that_is_no_trace_is_refused(path: Path) -> None:
    path.write_text("hello")
    with pytest.raises(TraceError, match="is no trace"):
        read_trace(path)
    with pytest.raises(TraceError, match="is no trace"):
        TraceWriter(path, header())
    assert path.read_text() == "hello"


def test_a_missing_file_is_one_line(path: Path) -> None:
    with pytest.raises(TraceError, match=r"cannot open trace .*: No such file or directory"):
        read_trace(path)


def test_an_empty_trace_is_refused(path: Path) -> None:
    write(path)
    with pytest.raises(TraceError, match="holds no request"):
        read_trace(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("tokenizer_fingerprint", "xyz"), ("model", "n"), ("topk", 3), ("strategy", "static")],
)
def test_recording_something_else_into_a_trace_is_refused(path: Path, field: str, value: object) -> None:
    write(path, request())
    before = path.read_bytes()
    with pytest.raises(TraceError, match=f"was recorded with {field} "):
        TraceWriter(path, header(**{field: value}))
    assert path.read_bytes() == before


def test_a_newer_version_may_go_on_with_a_trace(path: Path) -> None:
    write(path, request("a"), specframe_version="0.0.1")
    write(path, request("b"))
    assert len(read_trace(path).requests) == 2


def test_a_full_disk_is_one_line_and_leaves_the_trace_whole(path: Path) -> None:
    write(path, request("a"))
    size = path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))
    try:
        with TraceWriter(path, header()) as writer, pytest.raises(SpecframeError, match="cannot write trace"):
            writer.append(request("b"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert [one.id for one in read_trace(path).requests] == ["a"]


def test_hidden_states_come_back_by_level(path: Path) -> None:
    first = (torch.randn(1, 8).half(), torch.randn(3, 8).half())
    one = attrs.evolve(request().passes[0], levels=first)
    passes = [one, attrs.evolve(one, levels=()), attrs.evolve(one, levels=first[1:])]
    ids = torch.tensor([5, 6])
    write(path, from_passes("a", "t", ids, torch.empty(0, 2), passes, 8), hidden_states=True)
    found = read_trace(path).requests[0].passes
    assert [len(one.levels) for one in found] == [2, 0, 1]
    assert all(map(torch.equal, found[0].levels, first))
    assert torch.equal(found[2].levels[0], first[1])


def test_passes_of_which_none_was_drafted_have_no_hidden_states(path: Path) -> None:
    passes = [attrs.evolve(request().passes[0], levels=())]
    write(path, from_passes("a", "t", torch.tensor([5]), torch.empty(0, 2), passes, 8), hidden_states=True)
    assert read_trace(path).requests[0].passes[0].levels == ()


def as_format_1(header: TraceHeader) -> dict[str, Any]:
    """Return a header as the first version wrote it."""
    about = attrs.asdict(header) | {"format": 1}
    for name in ("hidden_states", "states_key", "head_digest"):
        del about[name]
    return about


def test_a_trace_of_the_first_format_is_read_and_gone_on_with(path: Path) -> None:
    payload = zlib.compress(json.dumps(as_format_1(header())).encode())
    path.write_bytes(MAGIC + struct.pack("<II", len(payload), zlib.crc32(payload)) + payload)
    with TraceWriter(path, header()) as writer:
        writer.append(request("a"))
    trace = read_trace(path)
    assert (trace.header.format, trace.header.hidden_states) == (1, False)
    assert [one.levels for one in trace.requests[0].passes] == [(), ()]


def test_hidden_states_do_not_go_into_a_trace_without(path: Path) -> None:
    write(path, request())
    with pytest.raises(TraceError, match="recorded with hidden_states False, and not True"):
        TraceWriter(path, header(hidden_states=True))

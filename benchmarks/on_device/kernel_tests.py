"""Part *kernels*: the tests of the kernels, on the device; and gather backends against their definition.

The tests are those of ``tests/kernels``, in as many processes as there are groups below: most of their time
is Triton compiling one kernel after the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import attrs

from on_device.checkout import ROOT
from on_device.outcomes import VARIABLE
from on_device.parts import Row, Setup

# What tests/kernels has besides checks what a compiler or a page says, or needs the interpreter.
ON_A_DEVICE: tuple[tuple[str, ...], ...] = (
    (
        "tests/kernels/test_admit.py",
        "tests/kernels/test_gather_rows.py",
        "tests/kernels/test_torch_is_enough.py",
    ),
    ("tests/kernels/test_sparse_head_topk.py",),
    ("tests/kernels/test_indexed_head_topk.py",),
)
IN_MINIATURE: tuple[tuple[str, ...], ...] = (
    (
        "tests/kernels/test_gather_rows.py",
        "tests/kernels/test_admit.py::test_after_a_reset_it_starts_anew",
        "tests/kernels/test_sparse_head_topk.py::test_equal_logits_come_by_lowest_slot",
        "tests/kernels/test_torch_is_enough.py",
    ),
)
_NEEDED = ("pytest", "hypothesis")
_SHARE = 0.9  # of the part's time; the rest is for what the tests' processes take to end


def check(setup: Setup) -> Iterator[Row]:
    """Yield how gather backends and tests fare."""
    end = monotonic() + _SHARE * setup.seconds
    yield from backends(setup)
    groups = IN_MINIATURE if setup.miniature else ON_A_DEVICE
    for package in _NEEDED:
        if find_spec(package) is None:
            without = [[file for file in group if not needs(package, file)] for group in groups]
            left_out = {_file(file) for group in groups for file in group if needs(package, file)}
            groups = tuple(tuple(group) for group in without if group)
            if left_out:
                said = f"did not run: {package} is not installed; pip install {package}"
                yield Row(", ".join(sorted(left_out)), None, said)
    yield from tests(groups, setup, end)
    if setup.miniature:
        yield Row("kernels as compiled code", None, "no GPU: Triton's interpreter ran a few of the tests")


def needs(package: str, file: str) -> bool:
    """Return whether the tests of a file need a package; all of them need what runs them."""
    source = (ROOT / file.split("::")[0]).read_text(encoding="utf-8")
    return package == "pytest" or f"from {package} import" in source


def _file(test: str) -> str:
    return Path(test.split("::")[0]).name


def backends(setup: Setup) -> Iterator[Row]:
    """Yield whether the Triton gather backends keep their promises, which needs no test runner."""
    import torch

    from specframe.contracts.protocols import GatherBackend
    from specframe.testing import check_gather_backend
    from specframe_plugins.gathers.triton.indexed import IndexedGather
    from specframe_plugins.gathers.triton.packed import PackedGather

    dtypes = (torch.float32,) if setup.miniature else (torch.float32, torch.bfloat16, torch.float16)
    for make in (PackedGather,) if setup.miniature else (PackedGather, IndexedGather):
        what = f"{make.__name__} against its definition"

        def look(make: type[GatherBackend] = make, what: str = what) -> Row:
            with torch.inference_mode():
                check_gather_backend(make, setup.device, dtypes)
            return Row(what, True, f"agrees in {', '.join(str(one).split('.')[1] for one in dtypes)}")

        yield Row.of(what, look)


@attrs.frozen
class _Group:
    files: tuple[str, ...]
    process: subprocess.Popen[str]
    notes: Path
    output: Path


def tests(groups: tuple[tuple[str, ...], ...], setup: Setup, end: float) -> Iterator[Row]:
    """Run groups of tests side by side until ``end``, and yield how each ended."""
    with TemporaryDirectory() as folder:
        running = [_start(files, setup, Path(folder) / f"group{index}") for index, files in enumerate(groups)]
        try:
            for group in running:
                yield _ended(group, max(end - monotonic(), 0.0))
        finally:
            for group in running:
                if group.process.poll() is None:
                    group.process.kill()


def _start(files: tuple[str, ...], setup: Setup, stem: Path) -> _Group:
    notes, output = stem.with_suffix(".jsonl"), stem.with_suffix(".txt")
    notes.touch()
    environment = {
        **os.environ,
        VARIABLE: str(notes),
        "TRITON_INTERPRET": "1" if setup.miniature else "0",
    }
    # Another version's warnings are no failures of a kernel.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "on_device.outcomes", "-p", "no:cacheprovider"]
    command += ["--override-ini=filterwarnings=default", *files]
    with output.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, text=True
        )
    return _Group(files, process, notes, output)


def _ended(group: _Group, seconds: float) -> Row:
    """Return how a group ended, and what had ended if it was still running."""
    try:
        code: int | None = group.process.wait(seconds)
    except subprocess.TimeoutExpired:
        group.process.kill()
        group.process.wait()
        code = None
    notes = [json.loads(line) for line in group.notes.read_text(encoding="utf-8").splitlines()]
    return summed_up(group.files, notes, code, group.output.read_text(encoding="utf-8"))


def summed_up(
    files: tuple[str, ...], notes: list[dict[str, str | float]], code: int | None, output: str
) -> Row:
    """Return the row of a group.

    Args:
        files: that the tests are in.
        notes: of the tests that have ended.
        code: of the process; None if it was cut off.
        output: of the process.
    """
    counts = {
        outcome: sum(1 for note in notes if note["outcome"] == outcome)
        for outcome in ("passed", "failed", "skipped")
    }
    said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    broken = [note for note in notes if note["outcome"] == "failed"]
    if broken:
        first = broken[0]
        said += f"; first {str(first['test']).rsplit('/', 1)[-1]}: {first.get('said', '')}"
    if code is None:
        said = f"cut off when its time was over: {said or 'none had ended'}"
    elif code and not broken:
        last = output.strip().splitlines()
        said = f"pytest ended with {code}: {last[-1] if last else 'no output'}"
    what = ", ".join(sorted({_file(file) for file in files}))
    return Row(what, code == 0 and counts["passed"] > 0, said or "no test ran", dict(counts))

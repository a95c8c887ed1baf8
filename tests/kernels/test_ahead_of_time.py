from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import triton

from specframe_kernels import aot

COMMITTED = json.loads((Path(__file__).parent / "compiled.json").read_text(encoding="utf-8"))
ROW_KERNELS = ("gather_rows", "sparse_head_topk", "sparse_head_logits", "indexed_head_topk")

Facts = list[dict[str, Any]]


def python(*arguments: str) -> str:
    """Run a fresh interpreter in which triton compiles; -P keeps the repository root off its path."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-P", "-W", "error", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def compiled() -> Facts:
    """What every kernel becomes on every target; a minute the first time, then from triton's cache."""
    return json.loads(python("-m", "specframe_kernels.aot", *aot.TARGETS))["kernels"]


def key(fact: dict[str, Any]) -> tuple[str, str, int]:
    return fact["target"], fact["kernel"], fact["hidden_size"]


def test_every_kernel_compiles_for_every_target(compiled: Facts) -> None:
    kernels = {(name, hidden_size) for name, hidden_size, _ in aot.launches()}
    assert sorted(map(key, compiled)) == sorted((t, *kernel) for t in aot.TARGETS for kernel in kernels)


def test_no_register_is_spilled(compiled: Facts) -> None:
    assert [key(fact) for fact in compiled if fact["spill_bytes"]] == []


def test_rows_of_the_head_are_read_in_128_bit_loads(compiled: Facts) -> None:
    """The narrow loads that the table lists beside them are counts, slots, ids and the bias."""
    assert [key(f) for f in compiled if f["kernel"].startswith(ROW_KERNELS) and not f["wide_loads"]] == []


@pytest.mark.skipif(
    triton.__version__ != COMMITTED["triton"],
    reason=f"the committed registers are those of triton {COMMITTED['triton']}; install it",
)
def test_registers_memory_and_loads_are_those_of_the_committed_table(compiled: Facts) -> None:
    """After a deliberate change: python -P -m specframe_kernels.aot > tests/kernels/compiled.json."""
    assert compiled == COMMITTED["kernels"]


def test_under_the_interpreter_compiling_is_refused() -> None:
    with pytest.raises(RuntimeError, match="unset TRITON_INTERPRET"):
        aot.compile_kernels(["sm_80"])


def test_launching_reads_nothing_from_the_device() -> None:
    """Grids and arguments are made here from tensors without values, where any read raises."""
    assert all(launch.grid for _, _, launch in aot.launches())


def test_a_launch_gives_every_parameter_of_its_kernel() -> None:
    for name, _, launch in aot.launches():
        assert set(launch.arguments) == set(launch.kernel.arg_names), name

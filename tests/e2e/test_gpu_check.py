"""The check of a GPU runs in miniature where there is none, and nothing that fails goes unseen."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from on_device import kernel_tests
from on_device.captured_step import compare
from on_device.host_reads import Counts, counted
from on_device.kernel_tests import summed_up
from on_device.lossless import first_difference
from on_device.machine import unmet
from on_device.parts import Outcome, Part, Row, Setup, run_all
from on_device.report import failed

from specframe.contracts.tree import DraftTree

ROOT = Path(__file__).parents[2]
SCRIPT = "benchmarks/gpu_check.py"


def run(*arguments: str, flags: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, SCRIPT, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def without_specframe(tmp_path: Path) -> Path:
    """A folder with every installed package but this one."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for package in Path(site.getsitepackages()[0]).iterdir():
        if "specframe" not in package.name:
            (folder / package.name).symlink_to(package)
    return folder


def test_a_checkout_that_is_not_installed_is_checked_in_miniature(
    without_specframe: Path, tmp_path: Path
) -> None:
    path = os.pathsep.join([".", "plugins", "kernels", str(without_specframe)])
    done = run("--out", str(tmp_path / "out"), "--device", "cpu", flags=("-S",), PYTHONPATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "out" / "gpu_check.json").read_text(encoding="utf-8"))
    assert (found["schema_version"], found["miniature"], found["failed"]) == (1, True, False)
    parts = {part["name"]: part["rows"] for part in found["parts"]}
    assert list(parts) == ["machine", "kernels", "graph", "lossless", "reads", "times"]
    for name, rows in parts.items():
        assert any(row["ok"] for row in rows), f"nothing of part {name} was checked"
        hidden = [row for row in rows if row["ok"] is None]
        assert hidden, f"part {name} does not say what a CPU cannot show"
        assert all(f"not shown: {row['what']}: {row['said']}" in done.stdout for row in hidden)
    figures = {name for row in parts["times"] for name in row["figures"]}
    assert {"step_ms", "head_ms", "vocabulary_ms"} <= figures
    assert not {name for name in figures if "graph" in name or "triton" in name}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--out", "/dev/null/here"),
            "gpu_check: --out /dev/null/here cannot be written to: Not a directory",
        ),
        (
            ("--out", ".", "--model", "nowhere/model"),
            "gpu_check: --model nowhere/model is no path, and nothing is downloaded; allowed: a directory, a "
            ".gguf file, random, smollm2-135m, gemma3-270m",
        ),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (2, "", said)


PART = """
import os, time
from on_device.parts import Row

def check(setup):
    yield Row("begun", True, "so far so good")
    {then}
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Parts that break in every way, and one after them that does not."""
    folder = tmp_path_factory.mktemp("parts")
    ends = {
        "raises": "raise RuntimeError('one\\nline')",
        "dies": "os._exit(3)",
        "hangs": "time.sleep(60)",
        "ends": "pass",
    }
    for name, then in ends.items():
        (folder / f"part_that_{name}.py").write_text(PART.format(then=then), encoding="utf-8")
    weights = {"hangs": 0.01}  # 0.01 of 1.01 of the time
    parts = [Part(name=name, module=f"part_that_{name}", weight=weights.get(name, 1.0)) for name in ends]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        return {outcome.name: outcome for outcome in run_all(parts, Setup(device="cpu"), 400.0)}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", "RuntimeError: one line"),
        ("dies", "its process ended with code 3"),
        ("hangs", "had not ended after its"),
    ],
)
def test_a_part_that_breaks_fails_and_keeps_what_it_had_found(
    name: str, said: str, broken: dict[str, Outcome]
) -> None:
    begun, end = broken[name].rows
    assert begun.ok is True
    assert (end.ok, end.said[: len(said)]) == (False, said)
    assert failed([broken[name]])


def test_a_part_after_a_broken_one_is_checked(broken: dict[str, Outcome]) -> None:
    assert [row.what for row in broken["ends"].rows] == ["begun"]
    assert not failed([broken["ends"]])


def test_where_a_part_raised_is_kept(broken: dict[str, Outcome]) -> None:
    assert "part_that_raises.py" in (broken["raises"].rows[-1].trace or "")


def test_what_cannot_be_shown_is_no_failure() -> None:
    outcome = Outcome(name="", seconds=0.0, limit_s=1.0, rows=[Row("", None, ""), Row("", True, "")])
    assert not failed([outcome])


def tree(*log_probs: float, last_token: int = 3) -> DraftTree:
    """A root with two children, the first of which has one."""
    return DraftTree(
        token_ids=torch.tensor([7, 1, 2, last_token]),
        parents=torch.tensor([-1, 0, 0, 1]),
        depths=torch.tensor([0, 1, 1, 2]),
        log_probs=torch.tensor([0.0, *log_probs]),
    )


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (tree(-1.0, -2.0, -1.5), "equal"),
        (tree(-1.00001, -2.0, -1.5), "equal"),
        (tree(-1.0, -2.0, -1.5, last_token=4), "tied"),
        (tree(-1.0, -2.0, -1.6, last_token=4), "different"),
        (tree(-1.0, -2.0, -1.6), "different"),
        (tree(-1.0, float("nan"), -1.5), "different"),
        (DraftTree.root_only(7), "different"),
    ],
)
def test_trees_are_compared_up_to_rounding(other: DraftTree, expected: str) -> None:
    assert compare(tree(-1.0, -2.0, -1.5), other, 1e-4) == expected


def test_waits_and_reads_are_told_from_copies_that_wait_for_nothing() -> None:
    names = ["cudaMemcpyAsync", "Memcpy DtoH (Device -> Pageable)", "cudaStreamSynchronize", "aten::copy_"]
    names += ["Memcpy DtoH (Device -> Pinned)", "Memcpy HtoD (Pinned -> Device)", "cudaEventSynchronize"]
    names += ["cudaDeviceSynchronize", "cudaLaunchKernel"]
    assert counted(names) == Counts(waits=2, reads=1, event_waits=1)


def note(outcome: str, **more: Any) -> dict[str, Any]:
    return {"test": "tests/kernels/test_admit.py::test_it", "outcome": outcome, **more}


@pytest.mark.parametrize(
    ("notes", "code", "ok", "said"),
    [
        ([note("passed"), note("skipped")], 0, True, "1 passed, 1 skipped"),
        (
            [note("passed"), note("failed", said="E   no")],
            1,
            False,
            "1 passed, 1 failed; first test_admit.py::test_it: E   no",
        ),
        ([note("passed")], None, False, "cut off when its time was over: 1 passed"),
        ([], 4, False, "pytest ended with 4: no such file"),
        ([note("skipped")], 0, False, "1 skipped"),
    ],
)
def test_tests_count_only_when_they_ran_to_the_end_and_passed(
    notes: list[dict[str, Any]], code: int | None, ok: bool, said: str
) -> None:
    row = summed_up(("tests/kernels/test_admit.py",), notes, code, "collecting\nno such file\n")
    assert (row.what, row.ok, row.said) == ("test_admit.py", ok, said)


def test_a_missing_package_leaves_out_the_tests_that_need_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_tests, "backends", lambda setup: iter(()))
    monkeypatch.setattr(kernel_tests, "find_spec", lambda name: None if name == "hypothesis" else name)
    ran: list[str] = []
    monkeypatch.setattr(
        kernel_tests, "tests", lambda groups, setup, end: iter(ran.extend(sum(groups, ())) or ())
    )
    (row,) = kernel_tests.check(Setup(device="cuda:0"))
    assert (row.what, row.ok) == ("test_admit.py, test_sparse_head_topk.py", None)
    files = ("test_gather_rows.py", "test_torch_is_enough.py", "test_indexed_head_topk.py")
    assert ran == [f"tests/kernels/{file}" for file in files]


def test_the_first_difference_of_two_texts_may_be_where_one_ends() -> None:
    assert [first_difference([1, 2, 3], other) for other in ([1, 5, 3], [1, 2], [1, 2, 3, 4])] == [1, 2, 3]


def test_packages_that_are_older_or_missing_are_named() -> None:
    requirements = ["torch>=1000", "pytest>=1", "no-such-package", "torch>=1000; platform_system == 'None'"]
    named = list(unmet(requirements))
    assert [line.split(" (")[0] for line in named] == ["torch>=1000", "no-such-package"]

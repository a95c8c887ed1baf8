"""``--target-head auto`` takes the exact screen where it was clearly faster, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from tiny_models import tiny_model, tiny_tokenizer

from specframe.config import AUTOREGRESSIVE, RunConfig
from specframe.contracts.tree import DraftTree
from specframe.engine import heads as heads_module
from specframe.engine.assembly import build_engine
from specframe.engine.heads import HeadTimes, compare_heads
from specframe.model import target as target_module
from specframe.model.fastest import remember_head
from specframe.model.loading import CACHE_VARIABLE, load_pretrained
from specframe.model.target import Target, TreePass
from specframe.ops import contention

PROMPT = torch.tensor([5, 17, 42, 8, 33, 12, 70, 64, 21, 9, 11])
FASTER, SLOWER = ("exact-screen", "measured to be faster"), ("full", "measured not to pay")


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A tiny model on disk, and a cache in which nothing is measured yet."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def compared(stored: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], HeadTimes | None]:
    """Compare heads where a pass with a screen takes so many times as long."""
    time, tree_pass = [0.0], Target.tree_pass
    monkeypatch.setattr(heads_module, "perf_counter", lambda: time[0])
    monkeypatch.setattr(heads_module, "_WORTH", 1)
    monkeypatch.setattr(contention, "QUIET", float("inf"))

    def run(screened: float) -> HeadTimes | None:
        def timed(self: Target, tree: DraftTree, *, whole: bool = False) -> TreePass:
            time[0] += 1.0 if whole else screened
            return tree_pass(self, tree, whole=whole)

        monkeypatch.setattr(Target, "tree_pass", timed)
        return compare_heads(stored, torch.float32)

    return run


def used(stored: str, **settings: Any) -> tuple[str | None, str | None]:
    """Return which head a run takes, and why."""
    report = build_engine(config(stored, **settings)).generate(PROMPT, 8)
    return report.target_head, report.target_head_reason


def config(stored: str, **settings: Any) -> RunConfig:
    return RunConfig.of({"model": stored, "strategy": AUTOREGRESSIVE, "dtype": "float32", **settings})


def measured_as_faster(stored: str) -> None:
    target = Target(load_pretrained(stored, torch.float32))
    remember_head(target.config, torch.float32, target.forward_name, "exact-screen")


def test_nothing_is_taken_before_it_was_measured(stored: str) -> None:
    assert used(stored) == ("full", "nothing was measured")


@pytest.mark.parametrize(("screened", "taken"), [(0.5, FASTER), (0.95, SLOWER), (2.0, SLOWER)])
def test_auto_takes_the_screen_where_it_was_clearly_faster(
    compared: Callable[[float], HeadTimes], stored: str, screened: float, taken: tuple[str, str]
) -> None:
    times = compared(screened)
    assert times.seconds["exact-screen"] == pytest.approx([screened] * 3)
    assert times.taken == taken[0]
    assert used(stored) == taken


@pytest.mark.parametrize(("build_s", "taken"), [(49.0, "exact-screen"), (51.0, "full")])
def test_a_screen_pays_for_its_start_within_a_hundred_passes(
    compared: Callable[[float], HeadTimes], monkeypatch: pytest.MonkeyPatch, build_s: float, taken: str
) -> None:
    clock, screen_head = heads_module.perf_counter, Target.screen_head
    late = [0.0]

    def slow(self: Target) -> None:
        screen_head(self)
        late[0] = build_s

    monkeypatch.setattr(Target, "screen_head", slow)
    monkeypatch.setattr(heads_module, "perf_counter", lambda: clock() + late[0])
    assert compared(0.5).taken == taken


def test_a_comparison_beside_other_programs_changes_nothing(
    compared: Callable[[float], HeadTimes], stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contention, "QUIET", -1.0)
    assert not compared(0.5).is_quiet
    assert used(stored) == ("full", "nothing was measured")


def test_a_small_head_is_not_compared(stored: str) -> None:
    assert compare_heads(stored, torch.float32) is None


def test_without_memory_for_a_screen_nothing_is_compared(
    compared: Callable[[float], HeadTimes | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads_module, "free_bytes", lambda: 10_000)
    assert compared(0.5) is None


@pytest.mark.parametrize("free", [10_000, None])
def test_without_memory_for_it_the_screen_is_not_taken(
    stored: str, monkeypatch: pytest.MonkeyPatch, free: int | None
) -> None:
    measured_as_faster(stored)
    monkeypatch.setattr(target_module, "free_bytes", lambda: free)
    head, reason = used(stored)
    assert head == "full"
    assert reason is not None
    assert reason.startswith("a screen takes 0 MB more")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"costs": "off"}, "the default"),
        ({"target_head": "full"}, "asked for"),
        ({"temperature": 0.7}, "all logits are needed"),
        ({"repetition_penalty": 1.3}, "all logits are needed"),
    ],
)
def test_where_no_costs_or_all_logits_count_the_screen_is_not_made(
    stored: str, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], reason: str
) -> None:
    measured_as_faster(stored)
    monkeypatch.setattr(Target, "screen_head", lambda *_: pytest.fail("a screen was made"))
    assert used(stored, **settings) == ("full", reason)


def test_the_text_is_the_same(stored: str) -> None:
    expected = build_engine(config(stored)).generate(PROMPT, 40)
    measured_as_faster(stored)
    found = build_engine(config(stored)).generate(PROMPT, 40)
    assert (expected.target_head, found.target_head) == ("full", "exact-screen")
    assert found.token_ids == expected.token_ids


def test_a_model_of_somebody_else_is_never_screened_unasked(stored: str) -> None:
    measured_as_faster(stored)
    assert Target(load_pretrained(stored, torch.float32)).head_name == "full"


def test_what_was_measured_of_another_vocabulary_says_nothing(stored: str) -> None:
    target = Target(load_pretrained(stored, torch.float32))
    other = type(target.config)(**target.config.to_dict() | {"vocab_size": 205})
    remember_head(other, torch.float32, target.forward_name, "exact-screen")
    assert used(stored) == ("full", "nothing was measured")


def test_the_report_says_which_head_it_was_and_why(stored: str) -> None:
    from specframe.engine.report import to_rows

    report = build_engine(config(stored, target_head="exact-screen")).generate(PROMPT, 8)
    assert "LM head by exact-screen (asked for)" in dict(to_rows(report, 101))["target"]
    plain = attrs.evolve(report, target_head="full")
    assert "LM head" not in dict(to_rows(plain, 101))["target"]

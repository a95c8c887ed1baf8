"""A text is the target's up to ties: what differs more, or ends elsewhere, does not pass."""

from __future__ import annotations

import pytest
import torch
from bench_rows import row
from tiny_models import reference_greedy, tiny_target

from specframe.bench.checks import check_rows_fetched
from specframe.bench.lossless import LosslessCheck
from specframe.bench.rows import Steps
from specframe.model.target import Target

PROMPT = torch.tensor([5, 17, 42, 8])


@pytest.fixture(scope="module")
def target() -> Target:
    return tiny_target()


@pytest.fixture(scope="module")
def right(target: Target) -> list[int]:
    return reference_greedy(target.model, PROMPT, 8)


def test_the_targets_text_passes_without_ties(target: Target, right: list[int]) -> None:
    judged = LosslessCheck(target, PROMPT, right, 1e-3).judge(row(token_ids=right))
    assert judged.equal
    assert judged.passed
    assert judged.divergence is None
    assert judged.largest_margin <= 1e-3


def test_another_token_is_a_divergence_with_both_margins(target: Target, right: list[int]) -> None:
    wrong = [*right[:5], (right[5] + 1) % 101]
    judged = LosslessCheck(target, PROMPT, right, 1e-3).judge(row(token_ids=wrong))
    assert not judged.passed
    assert judged.divergence == 5
    assert judged.margin == judged.largest_margin > 1e-3
    assert judged.baseline_margin == pytest.approx(0, abs=1e-3)


def test_the_same_token_passes_within_a_tolerance(target: Target, right: list[int]) -> None:
    wrong = [*right[:5], (right[5] + 1) % 101]
    judged = LosslessCheck(target, PROMPT, right, 1e3).judge(row(token_ids=wrong))
    assert judged.passed
    assert judged.equal is False
    assert judged.not_maximum >= 1


def test_a_text_that_ends_too_early_does_not_pass(target: Target, right: list[int]) -> None:
    judged = LosslessCheck(target, PROMPT, right, 1e3).judge(row(token_ids=right[:6]))
    assert not judged.passed
    assert judged.divergence == 6
    assert judged.margin is None


def test_the_baseline_is_judged_by_re_scoring_alone(target: Target, right: list[int]) -> None:
    judged = LosslessCheck(target, PROMPT, right, 1e-3).judge(row(token_ids=right), is_baseline=True)
    assert judged.equal is None
    assert judged.passed


def test_more_rows_fetched_than_are_active_are_found() -> None:
    steps = Steps(
        active_size=[40, 46],
        tree_nodes=[8, 8],
        emitted=[2, 1],
        accepted=[1, 0],
        covered=[2, 0],
        rejection=[None, "oov"],
        rows_fetched=[33, 49152],
    )
    found = check_rows_fetched("nanospec", [row(), row(id="second", steps=steps)])
    assert found is not None
    assert found.passed is False
    assert found.message == (
        "fetches 49,152 rows of the LM head for 46 active tokens (prompt second, step 1)"
    )

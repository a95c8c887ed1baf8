"""Which steps of a scheduler count as of one way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from specframe_vllm.hooks.scheduler import DraftsByWorth
from specframe_vllm.worth import Judgement, Worth

CHAIN = [7, 8, 9]


class Noting(Worth):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, bool, float, int]] = []

    def took(self, requests: int, drafted: bool, seconds: float, tokens: int) -> Judgement | None:
        self.told.append((requests, drafted, seconds, tokens))
        return None


def step(chains: dict[str, list[int]], drafts: int, prompt: int = 0) -> Any:
    """Return what a scheduler says of a step; the last request reads so many tokens of its prompt besides."""
    counts = {request: 1 + len(chain) for request, chain in chains.items()}
    counts[next(reversed(counts))] += prompt
    return SimpleNamespace(
        num_scheduled_tokens=counts,
        scheduled_spec_decode_tokens={request: chain for request, chain in chains.items() if chain},
        num_spec_tokens_to_schedule=drafts,
    )


def told(*steps: Any) -> list[tuple[int, bool, float, int]]:
    """Return what is told of steps that take two seconds each and emit five tokens."""
    clock = iter(range(0, 100, 2))
    worth = Noting()
    deciding = DraftsByWorth(3, None, worth, lambda: float(next(clock)))
    for one in steps:
        deciding.ends(one, 5)
    return worth.told


DRAFTED = step({"a": CHAIN, "b": CHAIN}, 3)
UNDRAFTED = step({"a": [], "b": []}, 0)


def test_steps_of_one_way_are_told() -> None:
    assert told(DRAFTED, DRAFTED, UNDRAFTED) == [(2, True, 2.0, 5), (2, False, 2.0, 5)]


@pytest.mark.parametrize(
    "other",
    [
        step({"a": CHAIN, "b": CHAIN}, 0),
        step({"a": [], "b": []}, 3),
        step({"a": CHAIN, "b": []}, 3),
        step({"a": [], "b": []}, 0, prompt=9),
        step({"a": [], "c": []}, 0),
        step({"a": CHAIN, "b": CHAIN, "c": CHAIN}, 3),
    ],
    ids=["drafts no more", "drafts again", "one without", "reads a prompt", "a new one", "one more"],
)
def test_other_steps_are_not(other: Any) -> None:
    assert told(DRAFTED, other) == []


def test_a_step_after_one_that_computed_nothing_is_not() -> None:
    nothing = SimpleNamespace(
        num_scheduled_tokens={}, scheduled_spec_decode_tokens={}, num_spec_tokens_to_schedule=0
    )
    assert told(DRAFTED, nothing, DRAFTED) == []


def test_fewer_requests_than_before_are_told() -> None:
    assert told(DRAFTED, step({"b": CHAIN}, 3)) == [(1, True, 2.0, 5)]

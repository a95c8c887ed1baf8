from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from states import GivenStates, uneven_states

from specframe.contracts.lm_head import OutputHead
from specframe.errors import UsageError
from specframe.model.loading import CACHE_VARIABLE
from specframe_plugins.vocabularies.lowrank import LowRankScreen
from specframe_plugins.vocabularies.state_metric import StateMetric

V, H = 256, 24


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    return tmp_path / "screens"


def a_head(vocab_size: int = V, bias: bool = False, dtype: torch.dtype = torch.float32) -> OutputHead:
    source = torch.Generator().manual_seed(1)
    weight = torch.randn(vocab_size, H, generator=source).to(dtype)
    return OutputHead(weight, bias=torch.randn(vocab_size, generator=source).to(dtype) if bias else None)


def bound(head: OutputHead, rank: int, width: int, rows: int | None = None) -> LowRankScreen:
    screen = LowRankScreen(rank, width, rows)
    screen.bind(head, GivenStates(uneven_states(300, H)))
    return screen


def recall(screen: LowRankScreen, head: OutputHead, states: torch.Tensor) -> float:
    best = head.logits(states).argmax(dim=1)
    return (screen.screen(states).rows == best[:, None]).any(dim=1).float().mean().item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_few_columns_find_the_best_row_of_states_like_those_it_was_fitted_to(dtype: torch.dtype) -> None:
    head = a_head(dtype=dtype)
    others = uneven_states(200, H, seed=5).to(dtype)
    assert recall(bound(head, 8, 16), head, others) > 0.95


def test_of_any_states_the_metric_finds_more_than_a_plain_decomposition() -> None:
    head, others = a_head(), uneven_states(200, H, seed=5)
    plain = LowRankScreen(4, 8)
    plain.bind(head, GivenStates(torch.eye(H), key="plain"))
    assert recall(bound(head, 4, 8), head, others) > recall(plain, head, others) + 0.2


@pytest.mark.parametrize("bias", [False, True])
def test_with_all_columns_the_candidates_are_the_best_rows(bias: bool) -> None:
    head, states = a_head(bias=bias), uneven_states(20, H, seed=5)
    found = bound(head, H, 10).screen(states).rows
    best = head.logits(states).topk(10).indices
    assert torch.equal(found.sort().values, best.sort().values)


@settings(max_examples=25, deadline=None)
@given(
    vocab_size=st.sampled_from([37, 256, 2048]),
    rank=st.integers(1, H),
    width=st.integers(1, 37),
    rows=st.none() | st.integers(37, 256),
    n=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_candidates_are_rows_of_the_head_of_a_fixed_shape_and_none_comes_twice(
    vocab_size: int, rank: int, width: int, rows: int | None, n: int, seed: int
) -> None:
    head = a_head(vocab_size)
    screen = LowRankScreen(rank, width, None if rows is None else min(rows, vocab_size))
    screen.bind(head, GivenStates(uneven_states(60, H), key=f"{vocab_size}"))
    found = screen.screen(uneven_states(n, H, seed)).rows
    assert (found.shape, found.dtype) == ((n, width), torch.int64)
    assert ((found >= 0) & (found < vocab_size)).all()
    assert all(len(set(row)) == width for row in found.tolist())


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 8), seed=st.integers(0, 99))
def test_what_a_state_gets_does_not_depend_on_the_others_of_its_batch(n: int, seed: int) -> None:
    screen = bound(a_head(), 6, 12)
    states = uneven_states(n, H, seed)
    together, alone = screen.screen(states).rows, [screen.screen(state[None]).rows[0] for state in states]
    assert together.sort().values.tolist() == [rows.sort().values.tolist() for rows in alone]


def test_only_the_likeliest_rows_are_screened_where_a_number_is_given() -> None:
    head = a_head()
    screen = bound(head, H, 16, rows=64)
    likely = StateMetric.of(head, GivenStates(uneven_states(300, H))).order[:64]
    found = screen.screen(uneven_states(50, H, seed=5)).rows
    assert torch.isin(found, likely).all()
    assert recall(screen, head, uneven_states(200, H, seed=5)) > 0.5


def test_a_rank_above_the_heads_columns_is_one_line_before_states_are_asked_for() -> None:
    states = GivenStates(uneven_states(300, H))
    with pytest.raises(UsageError, match=r"rank 25 is above the 24 columns of the LM head; allowed: 1 to 24"):
        LowRankScreen(H + 1, 8).bind(a_head(), states)
    assert not states.asked


@pytest.mark.parametrize("rows", [7, V + 1])
def test_rows_that_cannot_be_screened_are_one_line_before_states_are_asked_for(rows: int) -> None:
    states = GivenStates(uneven_states(300, H))
    with pytest.raises(UsageError, match=rf"^{rows} rows of an LM head of 256 .*; allowed: 8 to 256 rows$"):
        LowRankScreen(4, 8, rows).bind(a_head(), states)
    assert not states.asked


def test_a_head_is_decomposed_once(cache: Path) -> None:
    states = GivenStates(uneven_states(300, H))
    first, second = LowRankScreen(4, 8), LowRankScreen(6, 8)
    for screen in (first, second):
        screen.bind(a_head(), states)
    assert states.asked == 1
    assert [file.name for file in cache.iterdir()] == ["metric-given.safetensors"]


def test_from_the_cache_comes_what_was_made() -> None:
    head, states = a_head(), GivenStates(uneven_states(300, H))
    made, read = StateMetric.of(head, states), StateMetric.of(head, states)
    assert states.asked == 1
    assert all(torch.equal(getattr(made, name), getattr(read, name)) for name in ("down", "lift", "order"))


@pytest.mark.parametrize("broken", ["cut", "another head", "other content"])
def test_a_file_that_is_broken_or_of_another_head_is_made_again(cache: Path, broken: str) -> None:
    states = GivenStates(uneven_states(300, H))
    StateMetric.of(a_head(V if broken == "cut" else 2 * V), states)
    file = cache / "metric-given.safetensors"
    if broken == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif broken == "other content":
        file.write_text("{}")
    assert len(StateMetric.of(a_head(), states).order) == V
    assert states.asked == 2


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("down", torch.full((H, H), torch.nan)),
        ("lift", torch.zeros(H, H, dtype=torch.float16)),
        ("order", torch.full((V,), 7, dtype=torch.int32)),
        ("order", torch.arange(V, dtype=torch.int32) + 1),
    ],
    ids=["not finite", "another dtype", "a row twice", "a row beyond the head"],
)
def test_a_file_with_numbers_of_no_use_is_made_again(cache: Path, name: str, wrong: torch.Tensor) -> None:
    states = GivenStates(uneven_states(300, H))
    StateMetric.of(a_head(), states)
    file = cache / "metric-given.safetensors"
    save_file(load_file(file) | {name: wrong}, file)
    StateMetric.of(a_head(), states)
    assert states.asked == 2


def test_a_cache_that_cannot_be_written_keeps_nobody_from_screening(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    assert bound(a_head(), 4, 8).width == 8

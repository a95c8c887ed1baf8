"""An adaptation moves a prediction by what those like it lacked, keeps so many of them, and forgets."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor

from specframe_plugins.drafters.components.eagle import ADAPTED_ROWS
from specframe_plugins.drafters.eagle.adaptation import Adaptation, LevelRecord

SIZE = 64
CPU = torch.device("cpu")


class Memory:
    """A store that is no file."""

    def __init__(self) -> None:
        self.held: tuple[Tensor, Tensor] | None = None
        self.writes = 0

    def read(self) -> tuple[Tensor, Tensor] | None:
        return self.held

    def write(self, keys: Tensor, values: Tensor) -> None:
        self.held, self.writes = (keys.clone(), values.clone()), self.writes + 1


def adaptation(rows: int = 8, store: Memory | None = None) -> Adaptation:
    return Adaptation(SIZE, CPU, torch.float32, store, rows=rows)


def predictions(n: int) -> Tensor:
    return torch.randn(n, SIZE, generator=torch.Generator().manual_seed(n))


def test_who_has_learnt_nothing_corrects_nothing() -> None:
    torch.testing.assert_close(adaptation().corrected(predictions(3)), predictions(3))


def test_a_prediction_like_an_earlier_one_gets_half_of_what_that_lacked() -> None:
    one, (seen, other) = adaptation(), predictions(2)
    lacked = torch.ones(SIZE)
    one.learn(seen, seen + lacked)
    corrected = one.corrected(torch.stack([seen, other, 3 * seen]))
    torch.testing.assert_close(corrected[0], seen + 0.5 * lacked, rtol=0, atol=1e-3)
    torch.testing.assert_close(corrected[1], other, rtol=0, atol=1e-3)
    torch.testing.assert_close(corrected[2], 3 * seen + 0.5 * lacked, rtol=0, atol=1e-3)


def test_like_predictions_share_what_they_lacked() -> None:
    one, (seen,) = adaptation(), predictions(1)
    for lacked in (torch.ones(SIZE), -torch.ones(SIZE)):
        one.learn(seen, seen + lacked)
    torch.testing.assert_close(one.corrected(seen[None])[0], seen, rtol=0, atol=1e-3)


def test_the_oldest_prediction_goes_first() -> None:
    one, seen = adaptation(rows=2), predictions(3)
    for prediction in seen:
        one.learn(prediction, prediction + 1)
    moved = (one.corrected(seen) - seen).abs().amax(dim=1) > 0.4
    assert moved.tolist() == [False, True, True]


def test_what_was_learnt_is_forgotten() -> None:
    one, seen = adaptation(), predictions(1)
    one.learn(seen[0], seen[0] + 1)
    one.forget()
    torch.testing.assert_close(one.corrected(seen), seen)


@pytest.mark.parametrize("learnt", [1, 2, 3, 5])
def test_what_was_stored_goes_on_as_what_was_kept(learnt: int) -> None:
    store, seen = Memory(), predictions(9)
    kept = adaptation(rows=3, store=store)
    for prediction in seen[:learnt]:
        kept.learn(prediction, prediction + 1)
    kept.save()
    loaded = adaptation(rows=3, store=store)
    for one in (kept, loaded):
        one.learn(seen[7], seen[7] - 2)
    torch.testing.assert_close(loaded.corrected(seen), kept.corrected(seen))


def test_who_forgets_goes_back_to_what_was_stored_before_it_began() -> None:
    store, seen = Memory(), predictions(2)
    first = adaptation(store=store)
    first.learn(seen[0], seen[0] + 1)
    first.save()
    second = adaptation(store=store)
    second.learn(seen[1], seen[1] + 1)
    second.save()
    second.forget()
    moved = (second.corrected(seen) - seen).abs().amax(dim=1) > 0.4
    assert moved.tolist() == [True, False]


def test_nothing_is_stored_where_nothing_is_new() -> None:
    store = Memory()
    one = adaptation(store=store)
    one.save()
    one.learn(*predictions(2))
    one.save()
    one.save()
    assert store.writes == 1


def test_memory_and_work_do_not_grow_with_what_was_learnt() -> None:
    one = Adaptation(SIZE, CPU, torch.bfloat16)
    before = [tensor.data_ptr() for tensor in one.tensors]
    for prediction in predictions(2).to(torch.bfloat16).repeat(ADAPTED_ROWS, 1):
        one.learn(prediction, prediction)
    assert sum(tensor.nbytes for tensor in one.tensors) == 2 * ADAPTED_ROWS * SIZE * 2
    assert [tensor.data_ptr() for tensor in one.tensors] == before, "a captured step would read elsewhere"


def test_a_correction_takes_a_small_part_of_a_target_pass() -> None:
    # A pass of SmolLM2 135M takes 20 ms and more on one thread, and a draft has a few levels.
    one, states = Adaptation(576, CPU, torch.float32), torch.randn(8, 576)
    took = []
    for _ in range(20):
        began = time.perf_counter()
        one.corrected(states)
        took.append(time.perf_counter() - began)
    assert min(took) < 2e-3


def test_the_predictions_of_an_accepted_path_are_found() -> None:
    record = LevelRecord(2, 2, 3, CPU, torch.float32)
    record.begin(torch.full((1, 3), 0.5))
    record.add(torch.tensor([7, 8]), torch.tensor([0, 0]), 1, torch.tensor([[1.0], [2.0]]).expand(2, 3))
    record.add(torch.tensor([9, 9]), torch.tensor([0, 1]), 2, torch.tensor([[3.0], [4.0]]).expand(2, 3))

    def numbers(accepted: tuple[int, ...]) -> list[float]:
        return [float(one[0]) for one in record.along(accepted)]

    assert numbers((8, 9)) == [0.5, 2.0, 4.0]
    assert numbers((7, 9, 4)) == [0.5, 1.0, 3.0]
    assert numbers((7, 5)) == [0.5, 1.0]
    assert numbers((9,)) == numbers(()) == [0.5]


def test_a_new_draft_has_nothing_of_the_one_before() -> None:
    record = LevelRecord(1, 2, 3, CPU, torch.float32)
    record.begin(torch.zeros(1, 3))
    record.add(torch.tensor([7, 8]), torch.tensor([0, 0]), 1, torch.ones(2, 3))
    record.begin(torch.full((1, 3), 0.5))
    assert len(record.along((8,))) == 1

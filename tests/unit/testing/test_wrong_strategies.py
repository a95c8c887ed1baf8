"""Strategies with one mistake each: the check names the promise that each breaks."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from specframe.contracts.protocols import VocabularyBuilder
from specframe.contracts.tree import DraftTree, Verdict
from specframe.testing import BrokenPromise, check_vocabulary_builder

VOCAB_SIZE = 50
REQUIRED = torch.tensor([0, 1])


class Good(VocabularyBuilder):
    """Admits what was emitted, and what the target found likely."""

    capacity: Any = 20
    eviction: Any = "lru"
    harvest_topk: Any = 3
    prompt_window: Any = 8
    takes_batches: Any = True

    def __init__(self) -> None:
        self.pinned_ids: Any = REQUIRED.clone()

    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        assert target_topk_ids is not None
        return torch.cat([prompt_ids, target_topk_ids.flatten()])

    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Any:
        assert target_topk_ids is not None
        emitted = torch.tensor(verdict.emitted_ids)
        return torch.cat([tree.token_ids[:1], tree.token_ids, emitted, target_topk_ids.flatten()])

    def observe_batch(self, node_ids: Tensor, emitted_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        assert target_topk_ids is not None
        return torch.cat([node_ids, emitted_ids, target_topk_ids.flatten()])


class SortsTheTree(Good):
    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Any:
        tree.token_ids.copy_(tree.token_ids.sort().values)
        return super().observe(verdict, tree, target_topk_ids)


class MarksTheTree(Good):
    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Any:
        tree.log_probs[0] = -1.0
        return super().observe(verdict, tree, target_topk_ids)


class SortsTheHarvest(Good):
    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Any:
        assert target_topk_ids is not None
        target_topk_ids.copy_(target_topk_ids.sort(descending=True).values)
        return super().observe(verdict, tree, target_topk_ids)


class ShiftsThePrompt(Good):
    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        return super().start(prompt_ids.add_(1).remainder_(VOCAB_SIZE), target_topk_ids)


class KeepsTheTree(Good):
    takes_batches = False
    last: Tensor | None = None

    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        self.last = None
        return prompt_ids

    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Any:
        last, self.last = self.last, tree.token_ids
        return tree.token_ids if last is None else last


class KeepsTheHarvest(KeepsTheTree):
    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        self.last = target_topk_ids
        return prompt_ids

    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Any:
        last, self.last = self.last, target_topk_ids
        assert last is not None
        return last.flatten()


class PinsWhatItSaw(Good):
    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        self.pinned_ids = torch.unique(torch.cat([self.pinned_ids, prompt_ids[:1]]))
        return prompt_ids


class WritesOverItsPins(Good):
    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Any:
        self.pinned_ids[0] = tree.token_ids[0]
        return super().observe(verdict, tree, target_topk_ids)


class SeedsTorch(Good):
    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        torch.manual_seed(0)
        return prompt_ids


class SeedsPython(Good):
    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        random.seed(0)
        return prompt_ids


class SeedsNumpy(Good):
    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        np.random.seed(0)  # noqa: NPY002 - that is its mistake
        return prompt_ids


class TurnsGradientsOff(Good):
    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        torch.set_grad_enabled(not torch.is_grad_enabled())
        return prompt_ids


class ReturnsMillions(Good):
    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Any:
        return tree.token_ids[:1].expand(3_000_000)


class ForgetsTheRequired(Good):
    def __init__(self) -> None:
        self.pinned_ids = torch.tensor([0, 7])


class CountsInFloats(Good):
    capacity = 20.0


class CountsTheHarvestInFloats(Good):
    harvest_topk = 3.0


class WantsANegativeWindow(Good):
    prompt_window = -1


class WantsMoreThanThereIs(Good):
    harvest_topk = 51


class SaysYes(Good):
    takes_batches = "yes"


class EvictsByLuck(Good):
    eviction = "random"


class IsTooSmall(Good):
    capacity = 1


class PinsAList(Good):
    def __init__(self) -> None:
        self.pinned_ids = [0, 1]


class PinsBeyond(Good):
    def __init__(self) -> None:
        self.pinned_ids = torch.tensor([0, 1, VOCAB_SIZE])


class ReturnsNothing(Good):
    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        return None


class ReturnsText(Good):
    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Any:
        return "tokens"


class ReturnsInt32(Good):
    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        return prompt_ids.int()


class ReturnsATable(Good):
    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Any:
        return target_topk_ids


class ReturnsNegativeIds(Good):
    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        return prompt_ids - VOCAB_SIZE


class ReturnsFromElsewhere(Good):
    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        return prompt_ids.to("meta")


class IsOfAnOlderVersion(Good):
    def observe(self, verdict: Verdict, tree: DraftTree) -> Any:  # type: ignore[override]  # its mistake
        return tree.token_ids


class Raises(Good):
    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Any:
        raise KeyError(7)


class Exits(Good):
    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        raise SystemExit("goodbye")


class CannotSayItsCapacity(Good):
    @property
    def capacity(self) -> int:  # type: ignore[override]  # its mistake
        raise ZeroDivisionError("no tokens")


class Grows(Good):
    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        self.capacity += 1
        return prompt_ids


class Remembers(Good):
    def __init__(self) -> None:
        super().__init__()
        self.requests = 0

    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        self.requests += 1
        return prompt_ids[: self.requests]


class RemembersLate(Good):
    def __init__(self) -> None:
        super().__init__()
        self.requests = 0

    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        self.requests += 1
        return prompt_ids if self.requests < 30 else prompt_ids[:0]


class BatchesNothing(Good):
    def observe_batch(self, node_ids: Tensor, emitted_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        return None


class BatchesTheNodesAlone(Good):
    def observe_batch(self, node_ids: Tensor, emitted_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        return node_ids


class InheritsNothing:
    capacity, pinned_ids = 20, REQUIRED


class LacksItsPins(Good):
    def __init__(self) -> None:
        pass


class KeepsTheFirstPrompt(Good):
    takes_batches = False
    first: Tensor | None = None

    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        if self.first is None:
            self.first = prompt_ids.clone()
        return self.first


WRONG = [
    (KeepsTheFirstPrompt, "the first request leaked into it"),
    (SortsTheTree, r"observe\(\) changed the tree"),
    (MarksTheTree, r"observe\(\) changed the tree"),
    (SortsTheHarvest, r"observe\(\) changed target_topk_ids; its inputs belong to the engine"),
    (ShiftsThePrompt, r"start\(\) changed prompt_ids; its inputs belong to the engine"),
    (KeepsTheTree, "the tree and the harvest were written over .* it keeps what it was given"),
    (KeepsTheHarvest, "the tree and the harvest were written over .* it keeps what it was given"),
    (PinsWhatItSaw, "pinned_ids changed during a request"),
    (WritesOverItsPins, "pinned_ids changed during a request"),
    (SeedsTorch, r"start\(\) changed torch's global generator; all randomness comes from the generator"),
    (SeedsPython, r"start\(\) changed Python's global generator"),
    (SeedsNumpy, r"start\(\) changed NumPy's global generator"),
    (TurnsGradientsOff, r"start\(\) changed whether gradients are computed; global settings belong to"),
    (ReturnsMillions, r"what observe\(\) returned has 3000000 ids; allowed: 800, 16 times the vocabulary"),
    (ForgetsTheRequired, r"pinned_ids lacks \[1\] of required_ids: without them no draft could end"),
    (CountsInFloats, r"capacity is 20\.0; allowed: from the 2 pinned ids to the vocabulary of 50, a whole"),
    (CountsTheHarvestInFloats, r"harvest_topk is 3\.0; allowed: 0 to 50, a whole number"),
    (WantsANegativeWindow, "prompt_window is -1; allowed: 0 or more"),
    (WantsMoreThanThereIs, "harvest_topk is 51; allowed: 0 to 50"),
    (SaysYes, "takes_batches is 'yes'; allowed: True or False"),
    (EvictsByLuck, "eviction is 'random'; allowed: fifo, lru"),
    (IsTooSmall, "capacity is 1; allowed: from the 2 pinned ids"),
    (PinsAList, "pinned_ids is of type list; it must be a tensor"),
    (PinsBeyond, r"pinned_ids holds id \[50\]; allowed: 0 to 49"),
    (ReturnsNothing, r"what start\(\) returned is of type NoneType; it must be a tensor"),
    (ReturnsText, r"what observe\(\) returned is of type str; it must be a tensor"),
    (ReturnsInt32, r"what start\(\) returned has dtype torch.int32; it must be int64"),
    (ReturnsATable, r"what observe\(\) returned has 2 dimensions; it must have one"),
    (ReturnsNegativeIds, r"what start\(\) returned holds id \[-1\]; allowed: 0 to 49"),
    (ReturnsFromElsewhere, r"what start\(\) returned is on the device meta; its inputs are on cpu"),
    (
        IsOfAnOlderVersion,
        r"observe\(\) raised TypeError: .* observe\(verdict, tree, target_topk_ids\) -> Tensor",
    ),
    (Raises, r"observe\(\) raised KeyError: 7; the promise is observe\("),
    (Exits, r"start\(\) raised SystemExit: goodbye; the promise is start\("),
    (CannotSayItsCapacity, "reading .* raised ZeroDivisionError: no tokens"),
    (Grows, "capacity was 20 and is 24 after a request; it must stay as it is"),
    (Remembers, "an earlier request leaked into it"),
    (RemembersLate, "after 40 more requests the same request admitted other ids"),
    (BatchesNothing, r"what observe_batch\(\) returned is of type NoneType"),
    (BatchesTheNodesAlone, r"observe_batch\(\) admitted other ids than observe\(\)"),
    (InheritsNothing, "it is a InheritsNothing; allowed: a class that inherits VocabularyBuilder"),
    (LacksItsPins, "it lacks pinned_ids, which VocabularyBuilder leaves open"),
]


def test_a_strategy_without_a_mistake_passes() -> None:
    check_vocabulary_builder(Good(), VOCAB_SIZE, REQUIRED)


@pytest.mark.parametrize(("wrong", "sentence"), WRONG, ids=[wrong.__name__ for wrong, _ in WRONG])
def test_a_wrong_strategy_is_caught_for_its_own_reason(wrong: type[Any], sentence: str) -> None:
    with pytest.raises(BrokenPromise, match=sentence):
        check_vocabulary_builder(wrong(), VOCAB_SIZE, REQUIRED)


def test_a_class_in_the_place_of_an_object_is_named() -> None:
    with pytest.raises(BrokenPromise, match="it is the class Good; allowed: an object of it"):
        check_vocabulary_builder(Good, VOCAB_SIZE)  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize("strategy", [Good, SeedsTorch, TurnsGradientsOff])
def test_a_check_leaves_generators_and_settings_as_they_were(strategy: type[Good]) -> None:
    before = torch.get_rng_state(), torch.is_grad_enabled(), random.getstate()
    with contextlib.suppress(BrokenPromise):
        check_vocabulary_builder(strategy(), VOCAB_SIZE)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.is_grad_enabled(), random.getstate()) == before[1:]

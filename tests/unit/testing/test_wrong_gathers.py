"""Gather backends with one mistake each: the check names the promise that each breaks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Eviction, GatherBackend
from specframe.testing import BrokenPromise, check_gather_backend


class Good(GatherBackend):
    """Keeps a packed copy of the active rows."""

    capturable: Any = False
    scores_candidates: Any = False

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        self.head, self.active = head, active
        self.rows = (
            head.weight.clone()
            if active is None
            else head.weight.new_zeros(active.capacity, head.hidden_size)
        )
        self.bias = None if head.bias is None else head.bias.new_zeros(len(self.rows))
        if active is None and head.bias is not None:
            self.bias = head.bias.clone()

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        self.rows[slots] = self.head.weight[ids]
        if self.bias is not None and self.head.bias is not None:
            self.bias[slots] = self.head.bias[ids]

    @property
    def count(self) -> int:
        return len(self.rows) if self.active is None else int(self.active.count)

    def logits(self, hidden: Tensor) -> Any:
        bias = None if self.bias is None else self.bias[: self.count]
        raw = torch.nn.functional.linear(hidden, self.rows[: self.count], bias)
        return self.head.finish(raw).float()

    def topk(self, hidden: Tensor, k: int) -> Any:
        found = min(k, self.count)
        best = self.logits(hidden).log_softmax(-1).topk(found)
        ids = best.indices if self.active is None else self.active.token_of[best.indices].long()
        padding = (0, k - found)
        return (
            torch.nn.functional.pad(best.values, padding, value=-torch.inf),
            torch.nn.functional.pad(ids, padding, value=-1),
        )


class InFourBits(Good):
    """Rounds rows to 4 bits, a scale for each row."""

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        super().fetch(slots, ids)
        self.rows[slots] = self.rounded(self.rows[slots])

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        super().bind(head, active)
        if active is None:
            self.rows = self.rounded(self.rows)

    def rounded(self, rows: Tensor) -> Tensor:
        scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-9) / 7
        return (rows / scale).round() * scale


class ForgetsTheNewRows(Good):
    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        super().fetch(slots[:1], ids[:1])


class ForgetsTheScale(Good):
    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        super().bind(OutputHead(head.weight, head.bias), active)


class CountsStaleSlots(Good):
    def logits(self, hidden: Tensor) -> Any:
        return self.head.finish(torch.nn.functional.linear(hidden, self.rows, self.bias)).float()


class ReturnsSlots(Good):
    def topk(self, hidden: Tensor, k: int) -> Any:
        log_probs, ids = super().topk(hidden, k)
        if self.active is None:
            return log_probs, ids
        return log_probs, torch.where(ids < 0, -1, self.active.slot_of[ids.clamp(min=0)].long())


class ReturnsProbabilities(Good):
    def topk(self, hidden: Tensor, k: int) -> Any:
        log_probs, ids = super().topk(hidden, k)
        return log_probs.exp().masked_fill(ids < 0, -torch.inf), ids


class ReturnsTheWorst(Good):
    def topk(self, hidden: Tensor, k: int) -> Any:
        log_probs, ids = super().topk(hidden, k)
        found = min(k, self.count)
        return torch.cat([log_probs[:, :found].flip(1), log_probs[:, found:]], 1), torch.cat(
            [ids[:, :found].flip(1), ids[:, found:]], 1
        )


class MixesUpItsColumns(Good):
    def topk(self, hidden: Tensor, k: int) -> Any:
        log_probs, ids = super().topk(hidden, k)
        return log_probs, ids.roll(1, 1) if self.count >= k else ids


class RepeatsTheBest(Good):
    def topk(self, hidden: Tensor, k: int) -> Any:
        log_probs, ids = super().topk(hidden, k)
        return log_probs, torch.where(ids < 0, ids, ids[:, :1])


class PadsWithZero(Good):
    def topk(self, hidden: Tensor, k: int) -> Any:
        log_probs, ids = super().topk(hidden, k)
        return log_probs, ids.clamp(min=0)


class PadsWithNaN(Good):
    def topk(self, hidden: Tensor, k: int) -> Any:
        log_probs, ids = super().topk(hidden, k)
        return log_probs.masked_fill(ids < 0, torch.nan), ids


class ReturnsFewer(Good):
    def topk(self, hidden: Tensor, k: int) -> Any:
        log_probs, ids = super().topk(hidden, k)
        return log_probs[:, : self.count], ids[:, : self.count]


class ReturnsHalves(Good):
    def topk(self, hidden: Tensor, k: int) -> Any:
        log_probs, ids = super().topk(hidden, k)
        return log_probs.half(), ids


class ReturnsInt32(Good):
    def topk(self, hidden: Tensor, k: int) -> Any:
        log_probs, ids = super().topk(hidden, k)
        return log_probs, ids.int()


class ReturnsNothing(Good):
    def topk(self, hidden: Tensor, k: int) -> Any:
        return None


class ReturnsThree(Good):
    def topk(self, hidden: Tensor, k: int) -> Any:
        return (*super().topk(hidden, k), k)


class ReturnsAList(Good):
    def logits(self, hidden: Tensor) -> Any:
        return super().logits(hidden).tolist()


class KeepsTheDtype(Good):
    def logits(self, hidden: Tensor) -> Any:
        return super().logits(hidden).to(self.head.dtype)


class ReusesItsResult(Good):
    """Writes what topk() returned over when logits() is called."""

    last: Tensor | None = None

    def topk(self, hidden: Tensor, k: int) -> Any:
        log_probs, ids = super().topk(hidden, k)
        self.last = log_probs
        return log_probs, ids

    def logits(self, hidden: Tensor) -> Any:
        if self.last is not None:
            self.last.fill_(0.0)
        return super().logits(hidden)


class ScalesItsInput(Good):
    def topk(self, hidden: Tensor, k: int) -> Any:
        return super().topk(hidden.mul_(2.0), k)


class ChangesTheHead(Good):
    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        super().bind(head, active)
        if active is not None:
            head.weight[0] = 0.0


class WritesTheActiveSet(Good):
    def topk(self, hidden: Tensor, k: int) -> Any:
        found = super().topk(hidden, k)
        if self.active is not None:
            self.active.token_of[self.count :] = 5
        return found


class TurnsTheIdsAround(Good):
    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        super().fetch(slots, ids)
        ids.copy_(ids.flip(0))


class RaisesWhenEmpty(Good):
    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        raise RuntimeError("no room")


class IsOfAnOlderVersion(Good):
    def bind(self, head: OutputHead) -> None:  # type: ignore[override]  # its mistake
        super().bind(head, None)


class AdmitsLikeAString(Good):
    def admitter(self, active: ActiveSet, pinned: int, eviction: Eviction) -> Any:
        return "mine"


class HoldsItsHead(Good):
    def held(self) -> Any:
        return self.head


class PadsSlotsWithZero(Good):
    def slot_logits(self, hidden: Tensor, capacity: int) -> Any:
        logits = self.logits(hidden)
        return torch.nn.functional.pad(logits, (0, capacity - logits.shape[1]))


class SaysMaybe(Good):
    capturable = None


class ScoresNoCandidates(Good):
    scores_candidates = True


class DrawsByLuck(Good):
    def topk(self, hidden: Tensor, k: int) -> Any:
        torch.rand(3)
        return super().topk(hidden, k)


class HasNoTopk(Good):
    topk: Any = None


WRONG = [
    (ForgetsTheNewRows, r"logits\(\) differs .*a row is missing, stale or misplaced \(off by"),
    (ForgetsTheScale, r"logits\(\) differs from the product with the head's rows"),
    (CountsStaleSlots, r"logits\(\) has shape \(1, 6\) for 1 rows and 2 active"),
    (ReturnsSlots, r"topk\(\) returned a token that is not active"),
    (ReturnsProbabilities, r"topk\(\) returned other log-probabilities than the log-softmax"),
    (ReturnsTheWorst, r"topk\(\) returned other log-probabilities than the log-softmax"),
    (MixesUpItsColumns, r"topk\(\) returned a log-probability that belongs to another token"),
    (RepeatsTheBest, r"topk\(\) returned a token twice in one row"),
    (PadsWithZero, r"topk\(\) with 2 active tokens must fill the columns from 2 on with -inf and -1"),
    (PadsWithNaN, r"topk\(\) returned a log-probability that is NaN"),
    (ReturnsFewer, r"log_probs of topk\(\) with k = 8 has shape \[2, 2\]; it must be \[2, 8\]"),
    (ReturnsHalves, r"log_probs of topk\(\) with k = 1 has dtype torch.float16; it must be float32"),
    (ReturnsInt32, r"ids of topk\(\) with k = 1 has dtype torch.int32; it must be int64"),
    (ReturnsNothing, r"topk\(\) returned a NoneType; it must be the tuple \(log_probs, ids\)"),
    (ReturnsThree, r"topk\(\) returned a tuple; it must be the tuple \(log_probs, ids\)"),
    (ReturnsAList, r"what logits\(\) returned is of type list; it must be a tensor"),
    (KeepsTheDtype, r"what logits\(\) returned has dtype torch.bfloat16; it must be float32"),
    (ReusesItsResult, r"what topk\(\) returned was written over before its next call"),
    (ScalesItsInput, r"topk\(\) changed hidden; its inputs belong to the engine"),
    (ChangesTheHead, "the backend changed the LM head"),
    (WritesTheActiveSet, "the backend wrote into the active set, whose only writer is the admitter"),
    (TurnsTheIdsAround, r"fetch\(\) changed ids; its inputs belong to the engine"),
    (RaisesWhenEmpty, r"^fetch\(\) raised RuntimeError: no room; the promise is fetch\(slots, ids\)"),
    (IsOfAnOlderVersion, r"bind\(\) raised TypeError: .* the promise is bind\(head, active\)"),
    (AdmitsLikeAString, r"admitter\(\) returned a str without .*; it must be an Admitter, or None"),
    (HoldsItsHead, r"held\(\) must return a tuple of tensors"),
    (PadsSlotsWithZero, r"slot_logits\(\) must be logits\(\) with -inf for the slots that hold nothing"),
    (SaysMaybe, "capturable is None; allowed: True or False"),
    (ScoresNoCandidates, r"candidate_topk\(\) raised NotImplementedError"),
    (DrawsByLuck, r"topk\(\) changed torch's global generator"),
    (HasNoTopk, r"topk\(\) raised TypeError: 'NoneType' object is not callable"),
]


def test_a_gather_backend_without_a_mistake_passes() -> None:
    check_gather_backend(Good)


@pytest.mark.parametrize(("wrong", "sentence"), WRONG, ids=[wrong.__name__ for wrong, _ in WRONG])
def test_a_wrong_gather_backend_is_caught_for_its_own_reason(wrong: type[Any], sentence: str) -> None:
    with pytest.raises(BrokenPromise, match=sentence):
        check_gather_backend(wrong)


def test_a_factory_that_makes_nothing_is_caught() -> None:
    with pytest.raises(BrokenPromise, match="it is a NoneType; allowed: a class that inherits GatherBackend"):
        check_gather_backend(lambda: None)  # type: ignore[arg-type,return-value]  # the mistake


def test_a_factory_that_raises_or_is_none_is_caught() -> None:
    with pytest.raises(BrokenPromise, match="the factory raised ZeroDivisionError"):
        check_gather_backend(lambda: 1 / 0)  # type: ignore[arg-type,return-value]  # the mistake
    with pytest.raises(BrokenPromise, match="a Good was given; allowed: a function that returns a new one"):
        check_gather_backend(Good())  # type: ignore[arg-type]  # the mistake


def test_a_quantised_backend_passes_within_its_tolerance_alone() -> None:
    check_gather_backend(InFourBits, tolerance=2.0)
    with pytest.raises(BrokenPromise, match=r"off by .*; tolerance 0\.0001"):
        check_gather_backend(InFourBits)


def test_a_tolerance_hides_no_stale_row() -> None:
    class Stale(InFourBits):
        def fetch(self, slots: Tensor, ids: Tensor) -> None:
            super().fetch(slots[:1], ids[:1])

    with pytest.raises(BrokenPromise, match=r"stale or misplaced|belongs to another token"):
        check_gather_backend(Stale, tolerance=2.0)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan"), float("inf")])
def test_a_tolerance_that_is_none_is_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match="allowed: a number above 0, or None"):
        check_gather_backend(Good, tolerance=tolerance)

"""Drafters with one mistake each: the check names the promise that each breaks."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from torch import Generator, Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, SampledFrom, Verdict
from specframe.testing import BrokenPromise, check_drafter

FEATURES = 8


class Good(Drafter):
    """Drafts two likely tokens and a child of the first, from what the root is."""

    branching: Any = 2
    max_depth: Any = 2
    max_nodes: Any = 4
    feature_layers: Any = ()
    harvest_topk: Any = 0

    def __init__(self) -> None:
        weight = torch.randn(40, FEATURES, generator=Generator().manual_seed(0))
        self.output_head: Any = OutputHead(weight)

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        pass

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> Any:
        log_probs, ids = head.topk(self.output_head.weight[root][None], 2)
        found = int((ids[0] >= 0).sum())
        tokens, parents, scores = (
            [root, *ids[0, :found].tolist()],
            [-1, *[0] * found],
            log_probs[0, :found].tolist(),
        )
        return DraftTree(
            torch.tensor([*tokens, tokens[1]]),
            torch.tensor([*parents, 1]),
            torch.tensor([0, *[1] * found, 2]),
            torch.tensor([0.0, *scores, scores[0]]),
        )

    def commit(self, verdict: Verdict) -> None:
        pass


class Changed(Good):
    """Drafts the good tree with other tensors in it."""

    changes: Any = ()

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> Any:
        tree = super().draft(root, features, head, clock)
        return attrs.evolve(tree, **{name: change(getattr(tree, name)) for name, change in self.changes})


def with_last(value: float) -> Any:
    def change(values: Tensor) -> Tensor:
        changed = values.clone()
        changed[-1] = value
        return changed

    return change


class CountsIdsInInt32(Changed):
    changes = (("token_ids", Tensor.int),)


class ScoresInFloat64(Changed):
    changes = (("log_probs", Tensor.double),)


class ScoresNaN(Changed):
    changes = (("log_probs", with_last(torch.nan)),)


class ScoresAboveOne(Changed):
    changes = (("log_probs", with_last(0.5)),)


class DraftsTheSameTwice(Changed):
    changes = (("parents", with_last(0)), ("depths", with_last(1)))


class MiscountsDepths(Changed):
    changes = (("depths", with_last(1)),)


class PutsChildrenFirst(Changed):
    changes = (("parents", with_last(3)),)


class DraftsAnotherRoot(Changed):
    changes = (("token_ids", lambda ids: (ids + 1) % 40),)


class ProposesWhatIsNotActive(Changed):
    changes = (("token_ids", with_last(0)),)


class ForgetsATensor(Changed):
    changes = (("depths", lambda depths: None),)


class LosesANode(Changed):
    changes = (("log_probs", lambda log_probs: log_probs[:-1]),)


class DraftsElsewhere(Changed):
    changes = (("token_ids", lambda ids: ids.to("meta")),)


class DraftsATable(Changed):
    changes = (("token_ids", lambda ids: ids[None]),)


class SaysWhereItWasSampled(Changed):
    changes = (("sampled_from", lambda drawn: "the drafter"),)


class SamplesFromNoDistribution(Changed):
    changes = (
        (
            "sampled_from",
            lambda drawn: SampledFrom("chain", torch.tensor([39]), torch.tensor([[0.7]]), (0, -1, -1, -1)),
        ),
    )


class Overestimates(Good):
    """Gives both children nearly all of the probability."""

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> Any:
        tree = super().draft(root, features, head, clock)
        return attrs.evolve(tree, log_probs=torch.tensor([0.0, *[-0.1] * (len(tree) - 1)]))


class SumsUpItsPath(Good):
    """Makes children of the second level likelier than they can be together."""

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> Any:
        log_probs, ids = head.topk(self.output_head.weight[root][None], 2)
        if ids[0, 1] < 0:
            return super().draft(root, features, head, clock)
        return DraftTree(
            torch.tensor([root, int(ids[0, 0]), *ids[0].tolist()]),
            torch.tensor([-1, 0, 1, 1]),
            torch.tensor([0, 1, 2, 2]),
            torch.tensor([0.0, float(log_probs[0, 0]), -0.2, -0.2]),
        )


class GuessesTooMuch(Good):
    """Without a head, two guesses that are both nearly certain."""

    output_head: Any = None

    def __init__(self) -> None:
        pass

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> Any:
        tokens, parents, depths = (
            torch.tensor([root, 5, 6]),
            torch.tensor([-1, 0, 0]),
            torch.tensor([0, 1, 1]),
        )
        return DraftTree(tokens, parents, depths, torch.tensor([0.0, -0.1, -0.2]))


class DraftsNothing(Good):
    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> Any:
        return None


class DraftsAList(Good):
    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> Any:
        return [root]


class IsTooDeep(Good):
    max_depth = 1


class HasTooManyNodes(Good):
    max_nodes = 3


class AsksForMore(Good):
    branching = 1


class AsksForHalfAState(Good):
    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> Any:
        head.topk(self.output_head.weight[root, :4][None], 2)
        return super().draft(root, features, head, clock)


class BindsTheHead(Good):
    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> Any:
        head.bind(self.output_head, None)
        return super().draft(root, features, head, clock)


class NormalizesTheFeatures(Good):
    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> Any:
        features.div_(features.norm())
        return super().draft(root, features, head, clock)


class ShiftsThePrompt(Good):
    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        prompt_ids.add_(1)


class ClearsARowOfTheHead(Good):
    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        self.output_head.weight[3] = 0.0


class DrawsFromTheWorld(Good):
    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> Any:
        torch.rand(1)
        return super().draft(root, features, head, clock)


class LeaksAtOnce(Good):
    drafts, after = 0, 5

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> Any:
        self.drafts += 1
        return (
            DraftTree.root_only(root)
            if self.drafts > self.after
            else super().draft(root, features, head, clock)
        )


class LeaksLate(LeaksAtOnce):
    after = 150


class LeaksLateInALongRequest(Good):
    """Drafts shorter trees late in a request, once it has seen many requests."""

    requests = drafts = 0

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        self.requests, self.drafts = self.requests + 1, 0

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> Any:
        self.drafts += 1
        late = self.drafts > 50 and self.requests > 20
        return DraftTree.root_only(root) if late else super().draft(root, features, head, clock)


class IsOfAnOlderVersion(Good):
    def draft(self, root: int, features: Tensor, head: GatherBackend) -> Any:  # type: ignore[override]  # its mistake
        return super().draft(root, features, head, PhaseClock())


class CannotCommit(Good):
    def commit(self, verdict: Verdict) -> None:
        raise IndexError(verdict.path[7:])


class LearnsWithoutItsTree(Good):
    def learn(self, verdict: Verdict, top: TopTokens | None) -> None:  # type: ignore[override]  # its mistake
        pass


class CannotSkip(Good):
    can_pause = True


class CannotResume(Good):
    remembered = 4


class RemembersBeyond(Good):
    remembered = 99


class RemembersWrongly(Good):
    """Counts tokens of its prompt, and forgets those that were kept."""

    remembered = 9
    length = 0

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        self.length = len(prompt_ids)

    def resume(self, prompt_ids: Tensor, features: Tensor, kept: int) -> None:
        self.length = len(features)

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> Any:
        return super().draft(root, features, head, clock) if self.length > 13 else DraftTree.root_only(root)


class HasANumberForAHead(Good):
    def __init__(self) -> None:
        self.output_head = 40


class ListsItsLayers(Good):
    def __init__(self) -> None:
        super().__init__()
        self.feature_layers = [1, 2]


class HasTrueNodes(Good):
    max_nodes = True


class HarvestsFractions(Good):
    harvest_topk = 0.5


class SaysMaybe(Good):
    can_pause: Any = "maybe"


class AsksTheHeadItHasNot(Good):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.output_head = self.output_head.weight, None

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> Any:
        head.topk(features, 2)


class LacksItsDepth(Drafter):
    max_nodes = 4
    start, draft, commit = Good.start, Good.draft, Good.commit


WRONG = [
    (CountsIdsInInt32, "the tree's token_ids has dtype torch.int32; it must be int64"),
    (ScoresInFloat64, "the tree's log_probs has dtype torch.float64; it must be float32"),
    (ScoresNaN, "a node's log-probability is positive, infinite or NaN"),
    (ScoresAboveOne, "a node's log-probability is positive, infinite or NaN"),
    (DraftsTheSameTwice, "two children of one node hold the same token"),
    (MiscountsDepths, "node 3 is not one level below its parent"),
    (PutsChildrenFirst, "node 3 comes before its parent 3"),
    (DraftsAnotherRoot, "node 0 must be the root"),
    (ProposesWhatIsNotActive, "node 3 holds token 0, which is not active"),
    (ForgetsATensor, "the tree's depths is of type NoneType; it must be a tensor"),
    (LosesANode, r"the tree's log_probs has shape \[3\]; it must be \[4\]"),
    (DraftsElsewhere, "the tree's token_ids is on the device meta; its inputs are on cpu"),
    (DraftsATable, "the tree's token_ids has 2 dimensions; it must have one"),
    (SaysWhereItWasSampled, "sampled_from is a str; it must be a SampledFrom, or None"),
    (SamplesFromNoDistribution, "a row of sampled_from.probabilities is no distribution"),
    (Overestimates, r"the probabilities of the children of node 0 add up to 1\.810; allowed: at most 1"),
    (SumsUpItsPath, r"the probabilities of the children of node 1 add up to 1\.637"),
    (GuessesTooMuch, r"the probabilities of the children of node 0 add up to 1\.724"),
    (DraftsNothing, r"draft\(\) returned a NoneType; it must be a DraftTree"),
    (DraftsAList, r"draft\(\) returned a list; it must be a DraftTree"),
    (IsTooDeep, "the tree is 2 deep; max_depth is 1"),
    (HasTooManyNodes, "the tree has 4 nodes; max_nodes is 3"),
    (AsksForMore, r"draft\(\) asked the head for the best 2; branching is 1"),
    (AsksForHalfAState, r"asked the head for has shape \[1, 4\]; it must be \[None, 8\]"),
    (BindsTheHead, r"draft\(\) called head.bind\(\), which is the engine's business"),
    (NormalizesTheFeatures, r"draft\(\) changed features; its inputs belong to the engine"),
    (ShiftsThePrompt, r"start\(\) changed prompt_ids; its inputs belong to the engine"),
    (ClearsARowOfTheHead, "the drafter changed the weight of its output_head"),
    (DrawsFromTheWorld, r"draft\(\) changed torch's global generator"),
    (LeaksAtOnce, "the same request drafted other trees than before: an earlier request leaked into it"),
    (LeaksLate, "after 160 more drafts the same request drafted other trees"),
    (LeaksLateInALongRequest, "a request of 60 drafts drafted other trees the second time"),
    (IsOfAnOlderVersion, r"draft\(\) raised TypeError: .* draft\(root, features, head, clock\) -> DraftTree"),
    (CannotCommit, r"commit\(\) raised IndexError: .*; the promise is commit\(verdict\)"),
    (LearnsWithoutItsTree, r"learn\(\) raised TypeError: .* the promise is learn\(verdict, tree, top\)"),
    (CannotSkip, r"skip\(\) raised NotImplementedError; the promise is skip\(token_ids, features\)"),
    (CannotResume, r"resume\(\) raised NotImplementedError"),
    (RemembersBeyond, "remembered is 99 after 9 positions; allowed: 0 to 9"),
    (RemembersWrongly, r"after resume\(\) with 9 kept positions it drafts another tree"),
    (HasANumberForAHead, "output_head is a int; allowed: an OutputHead, or None"),
    (ListsItsLayers, r"feature_layers is \[1, 2\]; allowed: a tuple of layers"),
    (HasTrueNodes, "max_nodes is True; allowed: 1 or more, a whole number"),
    (HarvestsFractions, r"harvest_topk is 0\.5; allowed: 0 or more"),
    (SaysMaybe, "can_pause is 'maybe'; allowed: True or False"),
    (AsksTheHeadItHasNot, r"draft\(\) raised WrongCall: .*declares no output_head"),
    (LacksItsDepth, "it lacks max_depth, which Drafter leaves open"),
]


def test_a_drafter_without_a_mistake_passes() -> None:
    check_drafter(Good(), FEATURES)


@pytest.mark.parametrize(("wrong", "sentence"), WRONG, ids=[wrong.__name__ for wrong, _ in WRONG])
def test_a_wrong_drafter_is_caught_for_its_own_reason(wrong: type[Any], sentence: str) -> None:
    with pytest.raises(BrokenPromise, match=sentence):
        check_drafter(wrong(), FEATURES)

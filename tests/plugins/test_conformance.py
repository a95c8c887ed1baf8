"""Every registered component keeps its protocol's promises, and the checks notice when one does not."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from kernel_device import DEVICE
from safetensors.torch import save_file
from screens import RandomScreen, Screened, WholeScreen
from tiny_models import tiny_target
from torch import Generator, Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.clock import PhaseClock
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.options import build_options
from specframe.contracts.protocols import Drafter, GatherBackend, Verifier
from specframe.contracts.screen import Candidates, Screen, StateSource
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict
from specframe.model.target import Target
from specframe.registry.components import BuildContext, Component
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe.testing import (
    check_drafter,
    check_gather_backend,
    check_screen,
    check_verifier,
    check_vocabulary_builder,
)
from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.drafters.eagle3.checkpoint import save_head as save_eagle3
from specframe_plugins.drafters.eagle3.model import Eagle3Head, for_target
from specframe_plugins.drafters.mtp.model import MtpHead
from specframe_plugins.gathers.torch import TorchGather
from specframe_plugins.verifiers.greedy import GreedyVerifier
from specframe_plugins.vocabularies.components.nanospec import NanospecOptions
from specframe_plugins.vocabularies.nanospec import NanospecVocabulary

REGISTRY = build_registry(create_plugin_manager())


@pytest.fixture(scope="module")
def target() -> Target:
    return tiny_target()


@pytest.fixture(scope="module")
def files(target: Target, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the components need that cannot be had without a trained head."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    save_head(EagleHead(EagleConfig.for_target(target.config)), folder / "head")
    head = Eagle3Head(for_target(target.config, tokenizer_fingerprint=target.tokenizer_fingerprint))
    torch.nn.init.normal_(head.lm_head.weight)
    save_eagle3(head, None, folder / "head3")
    (folder / "mtp").mkdir()
    save_file(random_mtp_layer(target), folder / "mtp" / "model.safetensors")
    (folder / "ids.json").write_text("[50, 40, 30]")
    return {
        "eagle": str(folder / "head"),
        "eagle3": str(folder / "head3"),
        "mtp": str(folder / "mtp"),
        "static": str(folder / "ids.json"),
    }


def random_mtp_layer(target: Target) -> dict[str, Tensor]:
    layer = MtpHead(target.model.get_decoder(), target.config)
    names = {
        "enorm.": "mtp.pre_fc_norm_embedding.",
        "hnorm.": "mtp.pre_fc_norm_hidden.",
        "eh_proj.": "mtp.fc.",
        "norm.": "mtp.norm.",
        "block.": "mtp.layers.0.",
    }
    return {
        new + name.removeprefix(old): tensor.detach()
        for name, tensor in layer.state_dict().items()
        for old, new in names.items()
        if name.startswith(old)
    }


def build(component: Component, target: Target, **options: Any) -> Any:
    context = BuildContext(target=target, required_ids=target.required_ids)
    return component.factory(build_options(component.options, options, component.name), context)


def registered(kind: str) -> list[Any]:
    found = [r.component for r in REGISTRY.registrations() if r.kind == kind]
    return [pytest.param(component, id=component.name) for component in found]


# Options of strategies with a screen, for a head of a hundred rows.
SMALL = {
    "clusters": {"groups": "4", "size": "5"},
    "exact-screen": {"candidates": "20"},
    "lowrank": {"rank": "8", "candidates": "20"},
    "nanospec+lowrank": {"rank": "8", "candidates": "20", "capacity": "40"},
}


@pytest.mark.parametrize("component", registered("vocabulary"))
def test_a_registered_strategy_keeps_its_promises(
    component: Component, target: Target, files: dict[str, str]
) -> None:
    options = {"size": "20", "frequencies": files["static"]} if component.name == "static" else {}
    options |= SMALL.get(component.name, {})
    check_vocabulary_builder(build(component, target, **options), target.vocab_size)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *SMALL.items(),
        ("clusters", {"groups": "1", "size": "1"}),
        ("exact-screen", {"candidates": "1"}),
        ("lowrank", {}),
        ("lowrank", {"rank": "3", "candidates": "1"}),
    ],
    ids=str,
)
def test_a_registered_screen_keeps_its_promises(target: Target, name: str, options: dict[str, str]) -> None:
    check_screen(lambda: build(REGISTRY.get("vocabulary", name), target, **options).screen, DEVICE)


@pytest.mark.parametrize(
    "options",
    [
        {"use_extension": "false"},
        {"use_context": "false"},
        {"prompt_window": "0"},
        {"capacity": "9", "eviction": "lru", "harvest_topk": "8"},
    ],
    ids=str,
)
def test_nanospec_keeps_its_promises_with_other_options(target: Target, options: dict[str, str]) -> None:
    check_vocabulary_builder(
        build(REGISTRY.get("vocabulary", "nanospec"), target, **options), target.vocab_size
    )


@pytest.mark.parametrize("component", registered("gather"))
def test_a_registered_gather_backend_keeps_its_promises(component: Component, target: Target) -> None:
    check_gather_backend(lambda: build(component, target), DEVICE)


@pytest.mark.parametrize("component", registered("verifier"))
def test_a_registered_verifier_keeps_its_promises(component: Component, target: Target) -> None:
    check_verifier(build(component, target), component.trees)


@pytest.mark.parametrize("component", registered("drafter"))
def test_a_registered_drafter_keeps_its_promises(
    component: Component, target: Target, files: dict[str, str]
) -> None:
    options = {"layers": "2"} if component.name == "draft-model" else {}
    if component.name in files:
        options = {"checkpoint": files[component.name]}
    drafter = build(component, target, **options)
    layers = drafter.feature_layers
    check_drafter(drafter, target.hidden_size * max(1, len(layers)))


def test_a_head_that_learns_in_use_keeps_its_promises(target: Target, files: dict[str, str]) -> None:
    component = REGISTRY.get("drafter", "eagle")
    check_drafter(build(component, target, checkpoint=files["eagle"], adapt="on"), target.hidden_size)


class ForgetsTheCount(TorchGather):
    """Takes the top-k over all rows, as the published code does."""

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        rows = self._weight
        logits = torch.nn.functional.linear(hidden, rows).float().log_softmax(-1)
        best = logits.topk(min(k, len(rows)))
        return best.values, self._token_ids(best.indices)


class ForgetsTheBias(TorchGather):
    def bind(self, head: OutputHead, active: Any) -> None:
        super().bind(attrs.evolve(head, bias=None), active)


class FetchesTheWrongSlots(TorchGather):
    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        super().fetch(slots.flip(0), ids)


@pytest.mark.parametrize("broken", [ForgetsTheCount, ForgetsTheBias, FetchesTheWrongSlots])
def test_a_gather_backend_that_computes_something_else_is_caught(broken: type[GatherBackend]) -> None:
    with pytest.raises(AssertionError, match=r"topk\(\)|logits\(\)"):
        check_gather_backend(broken)


class CountsActiveCandidatesTwice(TorchGather):
    def candidate_topk(self, hidden: Tensor, k: int, candidates: Candidates) -> tuple[Tensor, Tensor]:
        assert self._active is not None
        forgetful = attrs.evolve(self._active, slot_of=torch.full_like(self._active.slot_of, -1))
        kept, self._active = self._active, forgetful
        found = super().candidate_topk(hidden, k, candidates)
        self._active = kept
        return found


class IgnoresTheLogTotal(TorchGather):
    def candidate_topk(self, hidden: Tensor, k: int, candidates: Candidates) -> tuple[Tensor, Tensor]:
        return super().candidate_topk(hidden, k, Candidates(candidates.rows))


class TakesNoneForTheLastRow(TorchGather):
    def candidate_topk(self, hidden: Tensor, k: int, candidates: Candidates) -> tuple[Tensor, Tensor]:
        rows = candidates.rows % self._head.vocab_size
        return super().candidate_topk(hidden, k, Candidates(rows, candidates.log_total))


class ForgetsTheActiveSet(TorchGather):
    def candidate_topk(self, hidden: Tensor, k: int, candidates: Candidates) -> tuple[Tensor, Tensor]:
        alone = TorchGather()
        alone.bind(self._head, ActiveSet.of_pinned(torch.empty(0).long(), 0, self._head.vocab_size))
        return alone.candidate_topk(hidden, k, candidates)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (CountsActiveCandidatesTwice, "a row twice|other log-probabilities|fill what is left"),
        (IgnoresTheLogTotal, "other log-probabilities than those by log_total"),
        (TakesNoneForTheLastRow, "fill what is left"),
        (ForgetsTheActiveSet, "other log-probabilities|fill what is left"),
    ],
)
def test_a_gather_backend_that_scores_other_candidates_is_caught(
    broken: type[GatherBackend], reason: str
) -> None:
    with pytest.raises(AssertionError, match=reason):
        check_gather_backend(broken)


@pytest.mark.parametrize("screen", [RandomScreen(9), WholeScreen(9)], ids=["random", "whole"])
def test_a_right_screen_passes(screen: Screen) -> None:
    check_screen(lambda: screen)


class ChoosesByBatch(WholeScreen):
    def screen(self, hidden: Tensor) -> Candidates:
        return Candidates(self._head.logits(hidden.mean(0)[None]).topk(9).indices.expand(len(hidden), -1))


class LooksBack(WholeScreen):
    last: Tensor | None = None

    def screen(self, hidden: Tensor) -> Candidates:
        last, self.last = self.last, hidden[0]
        return super().screen(hidden if last is None else hidden + last)


class FindsAsManyAsItLikes(WholeScreen):
    def screen(self, hidden: Tensor) -> Candidates:
        return Candidates(super().screen(hidden).rows[:, : 1 + len(hidden) % 5])


class RunsOver(WholeScreen):
    def screen(self, hidden: Tensor) -> Candidates:
        return Candidates(super().screen(hidden).rows + 1)


class Repeats(WholeScreen):
    def screen(self, hidden: Tensor) -> Candidates:
        return Candidates(super().screen(hidden).rows[:, :1].expand(-1, 9))


class FindsNothing(WholeScreen):
    def screen(self, hidden: Tensor) -> Candidates:
        return Candidates(torch.full((len(hidden), self.width), -1))


class CountsInInt32(WholeScreen):
    def screen(self, hidden: Tensor) -> Candidates:
        return Candidates(super().screen(hidden).rows.int())


class ReturnsRows(WholeScreen):
    def screen(self, hidden: Tensor) -> Any:
        return super().screen(hidden).rows


class ScalesItsInput(WholeScreen):
    def screen(self, hidden: Tensor) -> Candidates:
        return super().screen(hidden.mul_(2))


class WritesOverItsRows(WholeScreen):
    kept: dict[int, Tensor]

    def bind(self, head: OutputHead, states: StateSource) -> None:
        super().bind(head, states)
        self.kept = {}

    def screen(self, hidden: Tensor) -> Candidates:
        found = super().screen(hidden).rows
        return Candidates(self.kept.setdefault(len(hidden), found.clone()).copy_(found))


class CentresTheHead(WholeScreen):
    def bind(self, head: OutputHead, states: StateSource) -> None:
        super().bind(head, states)
        head.weight.sub_(head.weight.mean(0))


class SumsInFloat64(WholeScreen):
    def screen(self, hidden: Tensor) -> Candidates:
        return Candidates(super().screen(hidden).rows, self._head.logits(hidden).double().logsumexp(1))


class SumsTooLittle(WholeScreen):
    def screen(self, hidden: Tensor) -> Candidates:
        found = super().screen(hidden)
        return Candidates(found.rows, self._head.logits(hidden).float().amax(1) - 1)


class EstimatesLogits(WholeScreen):
    def screen(self, hidden: Tensor) -> Candidates:
        best = self._head.logits(hidden).float().topk(self.width)
        return Candidates(best.indices, None, best.values * 0.8)


class KnowsTooFewLogits(WholeScreen):
    def screen(self, hidden: Tensor) -> Candidates:
        best = self._head.logits(hidden).float().topk(self.width)
        return Candidates(best.indices, None, best.values[:, :-1])


class NarrowsToTheDrafted(WholeScreen):
    def screen_topk(self, hidden: Tensor, k: int) -> Candidates:
        return Candidates(self.screen(hidden).rows[:, :k])


class AsksForMoreThanThereIs(WholeScreen):
    def __init__(self, width: int) -> None:
        super().__init__(1000)


class HasNoWidth(WholeScreen):
    def __init__(self, width: int) -> None:
        pass


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (ChoosesByBatch, "each is screened by itself"),
        (LooksBack, "it must remember nothing"),
        (FindsAsManyAsItLikes, r"shape \[1, 2\] for 1 states; it must be \[1, 9\]"),
        (RunsOver, "allowed: -1 for none, 0 to 508"),
        (Repeats, "twice for one state"),
        (FindsNothing, "there must be one row at least"),
        (CountsInInt32, "it must be int64"),
        (ReturnsRows, "returned a Tensor; it must be Candidates"),
        (ScalesItsInput, "changed hidden"),
        (WritesOverItsRows, "wrote into the rows that it returned before"),
        (CentresTheHead, "changed the LM head"),
        (SumsInFloat64, r"log_total must be \[1\] float32"),
        (SumsTooLittle, "log_total is below the log-sum-exp of the candidates"),
        (EstimatesLogits, "logits are not those of the rows"),
        (KnowsTooFewLogits, r"logits must be \[1, 9\] float32"),
        (NarrowsToTheDrafted, r"rows has shape \[1, 1\] for 1 states; it must be \[1, 9\]"),
        (AsksForMoreThanThereIs, "width is 1000; allowed: 1 to the 509 rows"),
        (HasNoWidth, "it lacks width"),
    ],
)
def test_a_screen_that_breaks_a_promise_is_caught(broken: type[WholeScreen], reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        check_screen(lambda: broken(9))


def test_a_strategy_without_slots_needs_a_screen() -> None:
    check_vocabulary_builder(Screened(RandomScreen(9)), 101)
    empty = Screened(RandomScreen(9))
    empty.screen = None
    with pytest.raises(AssertionError, match="capacity is 0; allowed: from the 1"):
        check_vocabulary_builder(empty, 101)


def test_a_screen_that_is_never_asked_is_caught() -> None:
    whole = Screened(RandomScreen(9))
    whole.capacity = None  # type: ignore[assignment]  # what a strategy may say that prunes nothing
    with pytest.raises(AssertionError, match="the screen is never asked"):
        check_vocabulary_builder(whole, 101)


class Remembers(NanospecVocabulary):
    """Lets one request leak into the next, as the published code does."""

    earlier = torch.empty(0, dtype=torch.int64)

    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Tensor:
        self.earlier = torch.cat([self.earlier, prompt_ids])
        return self.earlier


class CountsFromOne(NanospecVocabulary):
    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Tensor:
        return super().observe(verdict, tree, target_topk_ids) + 1


class ReturnsAList(NanospecVocabulary):
    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Any:
        return prompt_ids.tolist()


class SortsThePrompt(NanospecVocabulary):
    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Tensor:
        return prompt_ids.copy_(prompt_ids.sort().values)


class ForgetsTheBatch(NanospecVocabulary):
    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Tensor:
        return tree.token_ids[:1]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (Remembers, "an earlier request leaked"),
        (CountsFromOne, "allowed: 0 to 100"),
        (ReturnsAList, "it must be a tensor"),
        (SortsThePrompt, "changed prompt_ids"),
        (ForgetsTheBatch, r"observe_batch\(\) admitted other ids"),
    ],
)
def test_a_strategy_that_breaks_a_promise_is_caught(broken: type[NanospecVocabulary], reason: str) -> None:
    builder = broken(NanospecOptions(), torch.tensor([0, 1]), 101)
    with pytest.raises(AssertionError, match=reason):
        check_vocabulary_builder(builder, 101)


class AcceptsTheFirstChild(Verifier):
    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        if len(tree) == 1:
            return GreedyVerifier().verify(tree, target, generator)
        return Verdict((0, 1), (int(tree.token_ids[1]),), 0, not bool((tree.parents == 1).any()))


class IgnoresTheGenerator(GreedyVerifier):
    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        return super().verify(tree, TargetLogits(target.raw + torch.randn(target.raw.shape), tree), generator)


class CallsEveryTokenABonus(GreedyVerifier):
    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        return attrs.evolve(super().verify(tree, target, generator), path_ends_at_leaf=True)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (AcceptsTheFirstChild, "every node must be a child of the one before"),
        (IgnoresTheGenerator, "changed torch's global generator"),
        (CallsEveryTokenABonus, "path_ends_at_leaf is True"),
    ],
)
def test_a_verifier_that_breaks_a_promise_is_caught(broken: type[Any], reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        check_verifier(broken())


class ChainDrafter(Drafter):
    """Drafts the most likely chain without looking at the features; broken by the overrides of its tests."""

    branching, max_depth, max_nodes = 2, 3, 4

    def __init__(self) -> None:
        self.output_head = OutputHead(torch.randn(40, 8, generator=Generator().manual_seed(0)))

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        pass

    def propose(self, log_probs: Tensor, token_ids: Tensor) -> tuple[list[int], list[float]]:
        """Return tokens and log-probabilities of the chain, given the best two active tokens [1, 2]."""
        return [int(token_ids[0, 0])] * 3, [float(log_probs[0, 0])] * 3

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        tokens, log_probs = self.propose(*head.topk(self.output_head.weight[root][None], 2))
        nodes = torch.arange(len(tokens) + 1)
        return DraftTree(torch.tensor([root, *tokens]), nodes - 1, nodes, torch.tensor([0.0, *log_probs]))

    def commit(self, verdict: Verdict) -> None:
        pass


class ProposesPadding(ChainDrafter):
    def propose(self, log_probs: Tensor, token_ids: Tensor) -> tuple[list[int], list[float]]:
        return [int(token_ids[0, 1])], [-1.0]


class OverrunsItsNodes(ChainDrafter):
    def propose(self, log_probs: Tensor, token_ids: Tensor) -> tuple[list[int], list[float]]:
        return [int(token_ids[0, 0])] * 9, [-1.0] * 9


class KeepsState(ChainDrafter):
    calls = 0

    def propose(self, log_probs: Tensor, token_ids: Tensor) -> tuple[list[int], list[float]]:
        self.calls += 1
        return [int(token_ids[0, 0])] * (1 + self.calls % 3), [-1.0] * (1 + self.calls % 3)


class AsksForHalves(ChainDrafter):
    harvest_topk: Any = 1.5


class NeverForgets(ChainDrafter):
    harvest_topk = 2

    def __init__(self) -> None:
        super().__init__()
        self.learnt: list[int] = []

    def propose(self, log_probs: Tensor, token_ids: Tensor) -> tuple[list[int], list[float]]:
        return [int(token_ids[0, 0])] * min(1 + len(self.learnt), 3), [-1.0] * min(1 + len(self.learnt), 3)

    def learn(self, verdict: Verdict, tree: DraftTree, top: TopTokens | None) -> None:
        self.learnt.append(verdict.next_token)


def test_a_plain_drafter_passes() -> None:
    check_drafter(ChainDrafter(), 8)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (ProposesPadding, "holds token -1, which is not active"),
        (OverrunsItsNodes, "the tree has 10 nodes; max_nodes is 4"),
        (KeepsState, "an earlier request leaked"),
        (AsksForHalves, "harvest_topk is 1.5; allowed: 0 or more"),
        (NeverForgets, "an earlier request leaked"),
    ],
)
def test_a_drafter_that_breaks_a_promise_is_caught(broken: type[ChainDrafter], reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        check_drafter(broken(), 8)

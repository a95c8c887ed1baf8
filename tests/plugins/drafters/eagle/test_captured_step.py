"""The draft step can be captured: fixed shapes, the same memory, and nothing that depends on data."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from kernel_device import DEVICE, NOT_INTERPRETED
from recorded_graph import RecordedGraph, record_graphs
from tiny_models import tiny_target
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from specframe.contracts.clock import PhaseClock
from specframe.contracts.protocols import GatherBackend
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.drafting.active import ActiveDrafting
from specframe.model.target import Prefill, Target
from specframe.ops.graphs import CapturedSteps
from specframe.vocabulary.store import VocabularyStore
from specframe.vocabulary.whole import WholeVocabulary
from specframe_kernels.launch import Launch
from specframe_plugins.drafters.eagle import cached
from specframe_plugins.drafters.eagle.cached import CachedHead
from specframe_plugins.drafters.eagle.drafter import EagleDrafter, TreeShape
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.gathers.torch import TorchGather
from specframe_plugins.gathers.triton.indexed import IndexedGather
from specframe_plugins.gathers.triton.packed import PackedGather
from specframe_plugins.vocabularies.components.nanospec import NanospecOptions
from specframe_plugins.vocabularies.nanospec import NanospecVocabulary

interpreted = pytest.mark.skipif(DEVICE != "cpu", reason=NOT_INTERPRETED)


@pytest.fixture(scope="module")
def target() -> Target:
    return tiny_target()


@pytest.fixture(autouse=True)
def weights_as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specframe.ops.packed_linear.can_pack", lambda weight: False)


class AsOnADevice(TorchGather):
    """Never reads how many tokens are active, as on a GPU."""

    def bind(self, *arguments: Any) -> None:
        super().bind(*arguments)
        self._reads_count = False


def make_drafting(
    target: Target, gather: GatherBackend, *, graphs: CapturedSteps | None = None, eviction: str = "fifo"
) -> ActiveDrafting:
    torch.manual_seed(0)
    shape = TreeShape(depth=4, branching=3, nodes=12)
    induction = {"num_attention_heads": 6, "num_key_value_heads": 3, "induction_groups": 1}
    head = EagleHead(EagleConfig.for_target(target.config, **induction)).eval().requires_grad_(False)
    drafter = EagleDrafter(
        CachedHead(head, beams=shape.branching, levels=shape.drafted_levels),
        target.embed_tokens,
        target.output_head,
        shape,
        graphs=graphs,
    )
    strategy = NanospecVocabulary(
        NanospecOptions(capacity=20, eviction=eviction), torch.tensor([1, 2]), target.vocab_size
    )
    store = VocabularyStore(
        target.output_head, gather, capacity=20, eviction=strategy.eviction, pinned_ids=strategy.pinned_ids
    )
    return ActiveDrafting(drafter, strategy, store)


def one_pass(target: Target, gather: GatherBackend, eviction: str) -> DraftTree:
    """Draft, admit and fetch with tensors that have no values: a host read raises."""
    drafting, clock = make_drafting(target, gather, eviction=eviction), PhaseClock()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
        prompt_ids = torch.empty(20, dtype=torch.int64)
        prefill = Prefill(
            torch.empty(1, 101), torch.empty(20, 64), TopTokens(torch.empty(20, 3, dtype=torch.int64))
        )
        drafting.start(prompt_ids, prefill, torch.Generator(), clock)
        for pairs in (1, 3):
            tree = drafting.draft(7, torch.empty(pairs, 64), clock)
            verdict = Verdict(path=(0, 1, 2), accepted_ids=(5, 6), next_token=9, path_ends_at_leaf=False)
            drafting.learn(verdict, tree, TopTokens(torch.empty(12, 3, dtype=torch.int64)), clock)
        return tree


@interpreted
@pytest.mark.parametrize("gather", [PackedGather, IndexedGather])
@pytest.mark.parametrize("eviction", ["fifo", "lru"])
def test_nothing_from_the_first_level_to_the_last_row_fetched_is_read_on_the_host(
    target: Target, gather: Any, eviction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[str] = []
    # What a launch reads stays on the device; everything around it runs as it is.
    monkeypatch.setattr(Launch, "run", lambda launch: launched.append(launch.kernel.__name__))
    assert len(one_pass(target, gather(), eviction)) == 12
    assert launched.count("_merge") == 8
    assert launched.count("_occupy") == 3


def test_the_trace_notices_a_read_on_the_host(target: Target) -> None:
    with pytest.raises(DataDependentOutputException):
        one_pass(target, TorchGather(), "fifo")


class Request:
    """Random target passes: both drafters of a comparison see the same ones."""

    def __init__(self, drafting: ActiveDrafting, seed: int = 0, prompt_tokens: int = 20) -> None:
        self.drafting, self.generator, self.clock = (
            drafting,
            torch.Generator().manual_seed(seed),
            PhaseClock(),
        )
        self.clock.start()
        prompt_ids = torch.randint(101, (prompt_tokens,), generator=self.generator)
        features = torch.randn(prompt_tokens, 64, generator=self.generator)
        drafting.start(prompt_ids, Prefill(torch.empty(1, 101), features, None), self.generator, self.clock)
        self.root, self.features = 7, features[-1:]

    @torch.inference_mode()
    def step(self) -> DraftTree:
        tree = self.drafting.draft(self.root, self.features, self.clock)
        path = [0]
        while children := (tree.parents == path[-1]).nonzero().flatten().tolist():
            path.append(children[len(path) % len(children)])
        path = path[: 1 + int(torch.randint(5, (), generator=self.generator))]
        self.root = int(torch.randint(101, (), generator=self.generator))
        self.features = torch.randn(len(path), 64, generator=self.generator)
        accepted = tuple(tree.token_ids[path[1:]].tolist())
        verdict = Verdict(tuple(path), accepted, self.root, path_ends_at_leaf=False)
        seen = torch.randint(101, (len(tree), 3), generator=self.generator)
        self.drafting.learn(verdict, tree, TopTokens(seen), self.clock)
        return tree


def columns(tree: DraftTree) -> list[Tensor]:
    return [tree.token_ids, tree.parents, tree.depths, tree.log_probs]


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> type[RecordedGraph]:
    monkeypatch.setattr(cached, "_INITIAL_CAPACITY", 64)
    monkeypatch.setattr(cached, "_SMALLEST_SPAN", 16)
    return record_graphs(monkeypatch)


def test_a_replayed_step_drafts_what_an_eager_one_drafts(target: Target, graph: type[RecordedGraph]) -> None:
    captured = make_drafting(target, AsOnADevice(), graphs=CapturedSteps(torch.device("cpu")))
    eager = make_drafting(target, AsOnADevice())
    for seed, prompt_tokens in ((0, 20), (1, 5), (2, 100)):
        requests = [Request(drafting, seed, prompt_tokens) for drafting in (captured, eager)]
        for _ in range(25):
            one, other = (columns(request.step()) for request in requests)
            assert all(map(torch.equal, one, other))
    assert graph.replays == 75
    assert 3 < graph.made < 15  # a few spans, before and after the cache moved


def test_a_captured_step_is_one_lap(target: Target, graph: type[RecordedGraph]) -> None:
    drafting = make_drafting(target, AsOnADevice(), graphs=CapturedSteps(torch.device("cpu")))
    request = Request(drafting)
    request.clock.start()
    drafting.draft(request.root, request.features, request.clock)
    assert request.clock.seconds["draft_tree"] < request.clock.seconds["draft_backbone"]
    assert "draft_head" not in request.clock.seconds


def test_a_backend_that_cannot_be_captured_is_called_eagerly(
    target: Target, graph: type[RecordedGraph]
) -> None:
    class Plain(TorchGather):
        capturable = False

    Request(make_drafting(target, Plain(), graphs=CapturedSteps(torch.device("cpu")))).step()
    assert graph.made == 0


def test_a_replay_comes_after_the_rows_are_there(target: Target, graph: type[RecordedGraph]) -> None:
    calls: list[str] = []

    class Late(AsOnADevice):
        def join(self) -> None:
            calls.append("join")

    class Graphs(CapturedSteps):
        def run(self, *arguments: Any) -> Any:
            calls.append("run")
            return super().run(*arguments)

    Request(make_drafting(target, Late(), graphs=Graphs(torch.device("cpu")))).step()
    assert calls == ["join", "run"]


class Shapes(TorchDispatchMode):
    """Writes down the operations of a step, and the shapes and strides of what they return."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[object, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self.seen.append((func, *((tensor.shape, tensor.stride()) for tensor in tensors)))
        return out


def test_the_context_grows_inside_a_span_without_a_new_shape_or_address(target: Target) -> None:
    drafting = make_drafting(target, AsOnADevice())
    request = Request(drafting, prompt_tokens=70)
    drafter: Any = drafting.drafter.component
    steps, addresses, lengths = [], set(), set()
    for _ in range(6):
        drafter._backbone.span = 128
        with Shapes() as shapes, torch.inference_mode():
            drafter._step(drafting.figures.over.head, lambda phase: None)
        steps.append(shapes.seen)
        buffers = (*vars(drafter._inputs).values(), drafter._head._cache, drafter._head._mask)
        addresses.add(tuple(buffer.data_ptr() for buffer in buffers if isinstance(buffer, Tensor)))
        lengths.add(drafter.remembered)
        request.step()
    assert len(lengths) > 3
    assert len(addresses) == 1
    assert all(step == steps[0] for step in steps)


def test_a_step_is_captured_anew_when_a_prompt_has_moved_the_cache(
    target: Target, graph: type[RecordedGraph]
) -> None:
    captured = make_drafting(target, AsOnADevice(), graphs=CapturedSteps(torch.device("cpu")))
    eager = make_drafting(target, AsOnADevice())
    for seed, prompt_tokens in ((0, 20), (1, 300), (0, 20)):
        one, other = (
            columns(Request(drafting, seed, prompt_tokens).step()) for drafting in (captured, eager)
        )
        assert all(map(torch.equal, one, other))


def test_a_step_over_another_head_is_captured_for_itself(target: Target, graph: type[RecordedGraph]) -> None:
    captured = make_drafting(target, AsOnADevice(), graphs=CapturedSteps(torch.device("cpu")))
    eager = make_drafting(target, AsOnADevice())
    everything = WholeVocabulary(target.output_head, AsOnADevice())
    for drafting in (captured, eager):
        Request(drafting).step()
        drafting.figures.over = everything
    one, other = (columns(Request(drafting).step()) for drafting in (captured, eager))
    assert all(map(torch.equal, one, other))
    assert graph.made == 2

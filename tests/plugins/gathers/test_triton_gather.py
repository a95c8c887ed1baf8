"""The backends ``triton`` and ``triton-indexed``; conformance is checked with all the others."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
from kernel_device import DEVICE, NOT_INTERPRETED
from screens import NoStates, WholeScreen
from scripted import ScriptedDrafter
from tiny_models import tiny_target
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from specframe.config import RunConfig
from specframe.contracts.clock import PhaseClock
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.report import GenerationReport
from specframe.contracts.screen import Candidates
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.assembly import build_engine
from specframe.engine.drafting.active import ActiveDrafting
from specframe.engine.recorder import GenerationRecorder
from specframe.errors import UsageError
from specframe.model.target import Prefill, Target
from specframe.registry.components import Setting
from specframe.vocabulary.screened import ScreenedVocabulary
from specframe.vocabulary.store import VocabularyStore
from specframe_kernels.launch import Launch
from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.gathers.components import INDEXED, PACKED
from specframe_plugins.gathers.torch import TorchGather
from specframe_plugins.gathers.triton.indexed import IndexedGather
from specframe_plugins.gathers.triton.packed import PackedGather
from specframe_plugins.gathers.triton.side_stream import SideStream
from specframe_plugins.vocabularies.components.nanospec import NanospecOptions
from specframe_plugins.vocabularies.nanospec import NanospecVocabulary

NOTHING = torch.empty(0, dtype=torch.int64)
interpreted = pytest.mark.skipif(DEVICE != "cpu", reason=NOT_INTERPRETED)
PROMPT = torch.tensor([5, 17, 42, 8, 33, 12, 70, 64, 21, 9, 11])
# Of a fixed size, as on a GPU; the interpreter takes milliseconds for every row and rank.
SMALL_TREES = {"depth": 3, "branching": 4, "nodes": 12}

both_backends = pytest.mark.parametrize("make_gather", [PackedGather, IndexedGather])
both_components = pytest.mark.parametrize("component", [PACKED, INDEXED], ids=lambda c: c.name)


@pytest.fixture(scope="module")
def target() -> Target:
    return tiny_target()


def random_head(vocab_size: int = 50, hidden_size: int = 8) -> OutputHead:
    torch.manual_seed(0)
    return OutputHead(
        torch.randn(vocab_size, hidden_size, device=DEVICE), torch.randn(vocab_size, device=DEVICE)
    )


@both_backends
def test_stale_rows_that_are_not_finite_do_not_spread(make_gather: Any) -> None:
    head, gather = random_head(), make_gather()
    head.weight[20:30] = torch.nan
    store = VocabularyStore(head, gather, capacity=10, pinned_ids=NOTHING)
    store.admit(torch.arange(20, 30))
    store.reset()
    store.admit(torch.tensor([1, 2, 3]))
    log_probs, token_ids = gather.topk(torch.ones(2, 8, device=DEVICE), 4)
    assert log_probs[:, :3].isfinite().all()
    assert [set(row) for row in token_ids.tolist()] == [{1, 2, 3, -1}] * 2


@both_backends
def test_calls_of_one_shape_write_the_same_memory(make_gather: Any) -> None:
    head, gather = random_head(), make_gather()
    gather.bind(head, None)

    def addresses(n: int) -> list[int]:
        return [tensor.data_ptr() for tensor in gather.topk(torch.ones(n, 8, device=DEVICE), 4)]

    first, other = addresses(2), addresses(1)
    assert addresses(2) == first != other == addresses(1)


@both_backends
def test_calls_with_as_many_candidates_write_the_same_memory(make_gather: Any) -> None:
    gather = make_gather()
    VocabularyStore(random_head(), gather, capacity=10, pinned_ids=NOTHING).admit(torch.arange(5))

    def addresses(width: int) -> list[int]:
        rows = torch.arange(width, device=DEVICE)[None]
        found = gather.candidate_topk(torch.ones(1, 8, device=DEVICE), 4, Candidates(rows))
        return [tensor.data_ptr() for tensor in found]

    first, other = addresses(7), addresses(8)
    assert addresses(7) == first != other == addresses(8)


@interpreted
@both_backends
def test_nothing_of_a_screened_head_call_is_read_on_the_host(
    make_gather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[str] = []
    monkeypatch.setattr(Launch, "run", lambda launch: launched.append(launch.kernel.__name__))
    store = VocabularyStore(random_head(), make_gather(), capacity=10, pinned_ids=NOTHING)
    screened = ScreenedVocabulary(store, WholeScreen(6), NoStates())
    launched.clear()
    with FakeTensorMode(allow_non_fake_inputs=True):
        screened.begin_draft()
        log_probs, token_ids = screened.head.topk(torch.empty(4, 8), 3)
        covered = screened.covered((3, 4))
    assert [tuple(one.shape) for one in (log_probs, token_ids, covered)] == [(4, 3), (4, 3), (2,)]
    assert launched == ["_candidates", "_partial", "_merge"]


@both_backends
def test_without_an_active_set_there_is_one_pass_and_the_merge(
    make_gather: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[str] = []
    run = Launch.run
    monkeypatch.setattr(Launch, "run", lambda launch: (launched.append(launch.kernel.__name__), run(launch)))
    head, gather = random_head(), make_gather()
    VocabularyStore(head, gather, capacity=0, pinned_ids=NOTHING)
    rows = torch.tensor([[3, -1, 9]], device=DEVICE)
    log_probs, found = gather.candidate_topk(torch.ones(1, 8, device=DEVICE), 3, Candidates(rows))
    assert launched == ["_candidates", "_merge"]
    assert set(found[0].tolist()) == {3, 9, -1}
    torch.testing.assert_close(log_probs.exp().sum(), torch.ones((), device=DEVICE))


@both_backends
def test_hidden_states_of_any_layout_and_dtype_are_taken(make_gather: Any) -> None:
    gather = make_gather()
    gather.bind(random_head(), None)
    hidden = torch.randn(8, 3, dtype=torch.float64, device=DEVICE).T
    expected = gather.topk(hidden.float().contiguous(), 4)
    assert all(map(torch.equal, gather.topk(hidden, 4), expected))


def test_the_indexed_backend_keeps_no_copy_of_a_row() -> None:
    head, gather = random_head(), IndexedGather()
    VocabularyStore(head, gather, capacity=10, pinned_ids=NOTHING).admit(torch.arange(5))
    assert gather._rows.weight.data_ptr() == head.weight.data_ptr()


def run_without_values(make_gather: Any, target: Target, eviction: str) -> tuple[Tensor, ...]:
    """Start a request, draft, count and learn with tensors that have no values: a host read raises."""
    gather, drafter = make_gather(), ScriptedDrafter(target.output_head, text=[])
    strategy = NanospecVocabulary(
        NanospecOptions(capacity=10, eviction=eviction), torch.tensor([1, 2]), target.vocab_size
    )
    store = VocabularyStore(
        target.output_head,
        gather,
        capacity=10,
        eviction=strategy.eviction,
        pinned_ids=strategy.pinned_ids,
    )
    drafting, clock = ActiveDrafting(drafter, strategy, store), PhaseClock()
    with FakeTensorMode(allow_non_fake_inputs=True):
        nodes = torch.empty(7, dtype=torch.int64)
        tree = DraftTree(nodes, nodes, nodes, torch.empty(7))
        prompt_ids = torch.empty(20, dtype=torch.int64)
        prefill = Prefill(
            torch.empty(1, 101), torch.empty(20, 64), TopTokens(torch.empty(20, 3, dtype=torch.int64))
        )
        drafting.start(prompt_ids, prefill, torch.Generator(), clock)
        log_probs, token_ids = gather.topk(torch.empty(4, 64), 12)
        GenerationRecorder().record(tree, Verdict((0, 2), (3,), 4, True), (3, 4), drafting.figures)
        figures = drafting.figures
        statistics = figures.covered((3, 4)), figures.active_size, figures.rows_fetched
        drafting.learn(
            Verdict((0, 2), (3,), 4, True), tree, TopTokens(torch.empty(7, 3, dtype=torch.int64)), clock
        )
    return log_probs, token_ids, *statistics


@interpreted
@both_backends
@pytest.mark.parametrize("eviction", ["fifo", "lru"])
def test_nothing_of_the_vocabulary_work_is_read_on_the_host(
    make_gather: Any, eviction: str, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[str] = []
    # What a launch reads stays on the device; everything around it runs as it is.
    monkeypatch.setattr(Launch, "run", lambda launch: launched.append(launch.kernel.__name__))
    results = run_without_values(make_gather, target, eviction)
    assert [tuple(result.shape) for result in results] == [(4, 12), (4, 12), (2,), (), ()]
    assert launched.count("_gather_rows") == (3 if make_gather is PackedGather else 0)
    assert launched.count("_occupy") == 2


def test_the_trace_notices_a_read_on_the_host(target: Target) -> None:
    with pytest.raises(DataDependentOutputException):
        run_without_values(TorchGather, target, "fifo")


class RecordedStreams:
    """Stands in for ``torch.cuda`` and writes down who waits for whom."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.capturing = False
        self.current = self.main = self.stream_named("main")
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: self.stream_named("side"))
        monkeypatch.setattr(torch.cuda, "Event", lambda: self.event())
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: self.current)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: self.switched(stream))
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: self.capturing)
        monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: self.calls.append("keep"))

    def stream_named(self, name: str) -> Any:
        note = self.calls.append

        class Stream:
            def __str__(self) -> str:
                return name

            def wait_stream(self, other: object) -> None:
                note(f"{name} waits for {other}")

            def wait_event(self, event: object) -> None:
                note(f"{name} waits for the event")

        return Stream()

    def event(self) -> Any:
        note = self.calls.append

        class Event:
            def record(self, stream: object) -> None:
                note(f"event on {stream}")

        return Event()

    def switched(self, stream: Any) -> Any:
        streams = self

        class Switch:
            def __enter__(self) -> None:
                streams.current = stream

            def __exit__(self, *error: object) -> None:
                streams.current = streams.main

        return Switch()


def test_work_runs_beside_the_current_stream_until_it_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = RecordedStreams(monkeypatch)
    side = SideStream(torch.device("cuda"))
    with side.work(torch.empty(1)):
        streams.calls.append(f"work on {streams.current}")
    streams.calls.append(f"more on {streams.current}")
    side.join()
    assert streams.calls == [
        "side waits for main",
        "work on side",
        "event on side",
        "keep",
        "more on main",
        "main waits for the event",
    ]


def test_a_capture_does_not_wait_for_what_happens_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = RecordedStreams(monkeypatch)
    side = SideStream(torch.device("cuda"))
    streams.capturing = True
    side.join()
    assert streams.calls == []


def test_the_rows_are_joined_before_they_are_read_and_before_their_list_is_written_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    head, gather = random_head(), PackedGather()
    store = VocabularyStore(head, gather, capacity=10, pinned_ids=NOTHING)
    run = Launch.run
    monkeypatch.setattr(gather._rows, "join", lambda: calls.append("join"))
    monkeypatch.setattr(Launch, "run", lambda launch: (calls.append(launch.kernel.__name__), run(launch)))
    for ids in ([1, 2], [3]):
        store.admit(torch.tensor(ids))
    gather.topk(torch.ones(1, 8, device=DEVICE), 2)
    admission = ["join", "_mark", "_plan", "_occupy", "_gather_rows"]
    assert calls == [*admission, *admission, "join", "_partial", "_merge"]


def setting(device: str) -> Setting:
    return Setting(
        device=torch.device(device),
        dtype=torch.bfloat16,
        vocabulary="nanospec",
        gather="triton",
        drafter="eagle",
        verifier="greedy",
    )


@interpreted
@both_components
def test_a_cpu_is_refused_unless_triton_interprets(component: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert component.supports(setting("cpu")) is None
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    reason = "needs a CUDA or ROCm device or TRITON_INTERPRET=1; this is cpu"
    assert component.supports(setting("cpu")) == reason
    assert component.supports(setting("cuda")) is None


@both_components
def test_without_the_package_triton_the_reason_says_so(
    component: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specframe_plugins.gathers.components.find_spec", lambda name: None)
    assert component.supports(setting("cuda")) == "needs the package triton, which is not installed"


@pytest.fixture(scope="module")
def checkpoint(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random EAGLE head."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("heads") / "tiny"
    save_head(EagleHead(EagleConfig.for_target(target.config)), folder)
    return folder


def config(checkpoint: Path, gather: str, **options: Any) -> RunConfig:
    return RunConfig(
        strategy=options.pop("strategy", "nanospec"),
        dtype="float32",
        gather=gather,
        costs="off",
        options={
            "drafter": {"checkpoint": str(checkpoint), **SMALL_TREES},
            "vocabulary": options,
        },
    )


def test_a_backend_that_is_refused_is_an_error_that_says_why(
    target: Target, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    with pytest.raises(UsageError, match="'triton-indexed' cannot run here: needs a CUDA or ROCm device"):
        build_engine(config(checkpoint, "triton-indexed"), target=target)


def test_auto_takes_torch_on_a_cpu_even_if_triton_interprets_and_logs_it_once(
    target: Target, checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "specframe"):
        engine = build_engine(config(checkpoint, "auto", capacity=40), target=target)
        engine.generate(PROMPT, 4)
    assert engine.config.gather == "torch"
    assert [message for message in caplog.messages if "gather" in message] == ["gather backend on cpu: torch"]


def drafted(report: GenerationReport) -> list[object]:
    """Return the output and what the drafting did on its way there."""
    keys = ("token_ids", "target_passes", "active_mean", "coverage", "oov_rejections", "accept_by_depth")
    return [getattr(report, key) for key in keys]


@interpreted
@pytest.mark.parametrize("gather", ["triton", "triton-indexed"])
@pytest.mark.parametrize(
    "options",
    [{"strategy": "full"}, {"capacity": 40}, {"capacity": 12, "eviction": "lru"}],
    ids=["full", "fifo", "lru"],
)
def test_an_engine_drafts_and_emits_what_it_does_with_torch(
    target: Target, checkpoint: Path, gather: str, options: dict[str, Any]
) -> None:
    reports = [
        build_engine(config(checkpoint, name, **options), target=target).generate(PROMPT, 6)
        for name in ("torch", gather)
    ]
    assert drafted(reports[1]) == drafted(reports[0])

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import torch
from stranger import install_plugin
from tiny_models import tiny_target
from traces import PROMPTS, endless_target, record, scripted_engine

from specframe.errors import SpecframeError, UsageError
from specframe.replay.command import load, offline_strategies, replay_all
from specframe.replay.offline import OfflineStrategy
from specframe.replay.stand_in import TracedTarget
from specframe.replay.trace_file import Trace

STRANGER = """
import attrs
import torch
from specframe.registry.components import Component
from specframe.registry.hookspecs import hookimpl
from specframe.contracts.options import option
from specframe.contracts.protocols import VocabularyBuilder


@attrs.frozen
class Options:
    ask: str = option("vocab_size", help="what to ask the target for")


class Evens(VocabularyBuilder):
    harvest_topk, prompt_window, eviction = 0, 0, "fifo"

    def __init__(self, size):
        self.capacity = size
        self.pinned_ids = torch.arange(0, size, 2)

    def start(self, prompt_ids, target_topk_ids):
        return prompt_ids

    def observe(self, verdict, tree, target_topk_ids):
        if len(tree) > 7:
            raise ValueError("such a tree")
        return tree.token_ids


def create(options, context):
    getattr(context.target, options.ask)
    return Evens(context.target.vocab_size)


@hookimpl
def specframe_vocabularies():
    return [Component(name="evens", summary="a stranger's", options=Options, factory=create)]
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace of three requests of two tasks over the full vocabulary."""
    target, path = endless_target(), tmp_path_factory.mktemp("trace") / "t"
    record(scripted_engine(target, PROMPTS[0]), path, PROMPTS)
    return path


@pytest.fixture(scope="module")
def trace(path: Path) -> Trace:
    return load(path)


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugin(tmp_path, "specframe-evens", STRANGER)
    monkeypatch.syspath_prepend(tmp_path)


def test_full_covers_everything(trace: Trace) -> None:
    (scores,) = replay_all(trace, offline_strategies(trace.header, ["full"]))
    overall = scores.overall
    assert (overall.coverage, overall.active_max, overall.rows_per_pass) == (1.0, 101, 0.0)
    assert overall.tau_same_drafts == overall.tau_recorded > 1


def test_fewer_active_tokens_cover_less(trace: Trace) -> None:
    texts = ["nanospec:capacity=4,nanospec:capacity=40,full"]
    small, large, full = replay_all(trace, offline_strategies(trace.header, texts))
    assert small.overall.coverage < large.overall.coverage < full.overall.coverage
    assert small.overall.active_max == 4
    assert large.overall.evicted_per_pass > 0
    for one in (small.overall, large.overall):
        assert one.tau_same_drafts is not None
        assert one.tau_bound is not None
        assert one.tau_same_drafts <= min(one.tau_recorded, one.tau_bound)


def test_a_strategy_can_be_replayed_twice(trace: Trace) -> None:
    offline = OfflineStrategy(trace.header, "nanospec", {"capacity": "12"})
    first = [offline.replay(request) for request in trace.requests]
    assert [offline.replay(request) for request in reversed(trace.requests)] == first[::-1]


@pytest.mark.usefixtures("stranger")
def test_a_strangers_strategy_is_named_when_it_fails(trace: Trace) -> None:
    with pytest.raises(
        SpecframeError,
        match=r"^strategy 'evens' \(specframe-evens 1.0\) raised in observe\(\): ValueError: such a tree",
    ):
        replay_all(trace, offline_strategies(trace.header, ["evens"]))


@pytest.mark.usefixtures("stranger")
def test_a_strategy_that_needs_the_model_is_told_so(trace: Trace) -> None:
    with pytest.raises(SpecframeError, match="a trace holds no forward of the target"):
        offline_strategies(trace.header, ["evens:ask=forward"])


def test_the_embedding_is_that_of_the_model(trace: Trace, tiny_directory: Path) -> None:
    ids, target = torch.tensor([3, 50]), TracedTarget(attrs.evolve(trace.header, model=str(tiny_directory)))
    assert torch.equal(target.embed_tokens(ids), tiny_target().embed_tokens(ids))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nanospc", "unknown strategy 'nanospc'; did you mean 'nanospec'"),
        ("autoregressive", "autoregressive has no active vocabulary"),
        (
            "nanospec:harvest_topk=6",
            r"wants the target's top 6 ids, .* holds 5; .*--record-topk 6",
        ),
        ("nanospec:prompt_window=65", r"wants 65 prompt positions, .* holds 64; .*--record-window 65"),
        ("nanospec:capacity=0", "option capacity of strategy 'nanospec'"),
        ("nanospec:drafter.nodes=4", "sets more than the strategy"),
        ("nanospec:capacity=3", "leaves no slot beside the 3 pinned ids"),
    ],
)
def test_what_a_trace_cannot_answer_is_one_line(trace: Trace, text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        offline_strategies(trace.header, [text])


def test_part_of_a_trace_can_be_replayed(path: Path) -> None:
    assert [one.id for one in load(path, ["task0"]).requests] == ["0", "2"]
    assert [one.id for one in load(path, limit_per_task=1).requests] == ["0", "1"]
    with pytest.raises(UsageError, match="has no task 'task9'; it has: task0, task1"):
        load(path, ["task9"])

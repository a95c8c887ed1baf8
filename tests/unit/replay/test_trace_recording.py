from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import reference_greedy
from traces import NEW_TOKENS, PROMPTS, autoregressive_engine, endless_target, record, scripted_engine

from specframe.errors import UsageError
from specframe.model.target import Target
from specframe.replay.recording import TraceRecorder


@pytest.fixture(scope="module")
def target() -> Target:
    return endless_target()


def test_a_trace_holds_the_prompt_and_every_emitted_id(target: Target, tmp_path: Path) -> None:
    prompt_ids = PROMPTS[0]
    (request,) = record(scripted_engine(target, prompt_ids), tmp_path / "trace", [prompt_ids]).requests
    emitted = [i for one in request.passes for i in one.verdict.emitted_ids[: one.emitted]]
    assert request.prompt_ids.tolist() == prompt_ids.tolist()
    assert emitted == reference_greedy(target.model, prompt_ids, NEW_TOKENS)[1:]
    assert max(len(one.verdict.path) for one in request.passes) > 2, "a trace of drafts that all failed"


def test_the_top_ids_start_with_what_was_emitted(target: Target, tmp_path: Path) -> None:
    prompt_ids = PROMPTS[1]
    (request,) = record(scripted_engine(target, prompt_ids), tmp_path / "trace", [prompt_ids]).requests
    for one in request.passes:
        path = list(one.verdict.path)
        assert one.topk_ids.shape == (len(one.tree), 5)
        assert one.topk_ids[path, 0].tolist() == list(one.verdict.emitted_ids)
    assert request.prompt_topk_ids.shape == (len(prompt_ids), 5)
    assert int(request.prompt_topk_ids[-1, 0]) == int(request.passes[0].tree.token_ids[0])


def test_the_prompt_window_bounds_what_is_kept_of_a_prompt(target: Target, tmp_path: Path) -> None:
    engine = autoregressive_engine(target)
    (request,) = record(engine, tmp_path / "trace", [PROMPTS[2]], prompt_window=3).requests
    assert request.prompt_topk_ids.shape == (3, 5)
    engine = autoregressive_engine(target)
    (request,) = record(engine, tmp_path / "other", [PROMPTS[2]], prompt_window=0).requests
    assert request.prompt_topk_ids.shape == (0, 5)


def test_drafting_goes_on_as_without_a_recorder(target: Target, tmp_path: Path) -> None:
    plain = scripted_engine(target, PROMPTS[2], "nanospec", capacity=20, prompt_window=4)
    recorded = scripted_engine(target, PROMPTS[2], "nanospec", capacity=20, prompt_window=4)
    expected = plain.generate(PROMPTS[2])
    record(recorded, tmp_path / "trace", [PROMPTS[2]])
    found = recorded.report
    assert found is not None
    assert (found.token_ids, found.active_mean, found.coverage) == (
        expected.token_ids,
        expected.active_mean,
        expected.coverage,
    )


def test_a_strategy_that_wants_more_than_was_asked_for_widens_the_trace(
    target: Target, tmp_path: Path
) -> None:
    engine = scripted_engine(target, PROMPTS[0], "nanospec", harvest_topk=7, prompt_window=9)
    trace = record(engine, tmp_path / "trace", [PROMPTS[0]], topk=2, prompt_window=1)
    assert (trace.header.topk, trace.header.prompt_window) == (7, 9)


def test_a_request_without_a_target_pass_is_left_out(target: Target, tmp_path: Path) -> None:
    engine = autoregressive_engine(target)
    with TraceRecorder(
        engine, tmp_path / "t", topk=2, prompt_window=4, strategy="autoregressive"
    ) as recorder:
        engine.generate(PROMPTS[0], id="before")
        recorder.add()
        engine.generate(PROMPTS[1], 1, id="short")
        recorder.add()
        assert recorder.has("before", "")
        assert not recorder.has("short", "")


def test_more_top_ids_than_tokens_are_refused(target: Target, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="102 top ids per position; allowed: 1 to 101"):
        TraceRecorder(autoregressive_engine(target), tmp_path / "t", topk=102, prompt_window=4, strategy="x")
    assert not (tmp_path / "t").exists()


def test_recording_reads_nothing_from_the_device_between_passes(target: Target, tmp_path: Path) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    from specframe.contracts.clock import PhaseClock
    from specframe.contracts.top_tokens import TopTokens
    from specframe.contracts.tree import DraftTree, Verdict
    from specframe.engine.drafting.autoregressive import Autoregressive
    from specframe.model.target import Prefill
    from specframe.replay.recording import TraceTap

    tap, clock = TraceTap(Autoregressive(), 4, 8), PhaseClock()
    with FakeTensorMode(allow_non_fake_inputs=True):  # a read that depends on data raises here
        ids = torch.empty(7, dtype=torch.int64)
        top = TopTokens(torch.empty(7, 4, dtype=torch.int64))
        tap.start(ids, Prefill(torch.empty(1, 9), torch.empty(7, 3), top), torch.Generator(), clock)
        tap.learn(Verdict((0,), (), 3, True), DraftTree(ids, ids, ids, torch.empty(7)), top, clock)

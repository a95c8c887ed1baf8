"""Requests as users send them: stop strings, giving up, one after the other in any order."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest
import torch
from tiny_engines import PROMPT, autoregressive_engine, drafting_engine, endless_target

from specframe.contracts.report import GenerationReport
from specframe.contracts.sampling import SamplingParams
from specframe.engine.engine import Engine
from specframe.errors import SpecframeError, UsageError
from specframe.model.rescoring import margins
from specframe.request.request import Request

_STATISTICS = (
    "token_ids",
    "text",
    "target_passes",
    "active_mean",
    "coverage",
    "accept_by_depth",
    "id",
    "seed",
)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return drafting_engine(endless_target())


def statistics(report: GenerationReport) -> list[Any]:
    return [getattr(report, name) for name in _STATISTICS]


def test_a_stop_string_cuts_the_text_exactly(engine: Engine) -> None:
    whole = engine.generate(PROMPT, 20)
    word = whole.text.split()[7]
    report = engine.generate(PROMPT, 20, stop=word)
    assert report.text == whole.text[: whole.text.index(word)]
    assert (report.finish_reason, report.token_ids) == ("stop", whole.token_ids[: len(report.token_ids)])


def test_a_stop_id_is_the_last_id_and_not_in_the_text(engine: Engine) -> None:
    whole = engine.generate(PROMPT, 20)
    stop = whole.token_ids[5]
    report = engine.generate(PROMPT, 20, stop_ids=[stop])
    assert report.token_ids == whole.token_ids[: whole.token_ids.index(stop) + 1]
    assert (report.finish_reason, f"w{stop}" in report.text.split()) == ("stop", False)


@pytest.mark.parametrize("beyond", [-1, 10**6])
def test_a_stop_id_that_is_no_token_is_refused(engine: Engine, beyond: int) -> None:
    with pytest.raises(UsageError, match=f"stop id {beyond} is no token of .*; allowed: 0 to"):
        engine.generate("hello", stop_ids=[beyond])


def test_streamed_text_is_the_text_of_the_report(engine: Engine) -> None:
    chunks = [*engine.stream(PROMPT, 20, stop="w5 w")]
    assert engine.report is not None
    assert "".join(chunk.text for chunk in chunks) == engine.report.text
    assert [i for chunk in chunks for i in chunk.token_ids] == engine.report.token_ids


def test_the_results_of_requests_do_not_depend_on_their_order(engine: Engine) -> None:
    source = random.Random(0)
    requests = [
        Request([source.randrange(3, 101) for _ in range(length)], max_new_tokens=length + 3, id=str(length))
        for length in (1, 2, 3, 7, 20, 45)
    ]
    requests[2] = Request(PROMPT, stop="w1", sampling=SamplingParams(seed=4), id="3")
    expected = {report.id: statistics(report) for report in engine.generate_all(requests)}
    for _ in range(3):
        source.shuffle(requests)
        for report in engine.generate_all(requests):
            assert statistics(report) == expected[report.id]


@pytest.mark.parametrize("chunks", [1, 2, 4])
def test_a_closed_iterator_leaves_nothing_behind(engine: Engine, chunks: int) -> None:
    expected = statistics(engine.generate(PROMPT[::-1], 12))
    stream = engine.stream(PROMPT, 30)
    for _ in range(chunks):
        next(stream)
    stream.close()
    assert statistics(engine.generate(PROMPT[::-1], 12)) == expected


@pytest.mark.parametrize("part", ["target.tree_pass", "verifier.verify", "drafting.learn", "target.commit"])
def test_an_interrupt_leaves_nothing_behind(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = drafting_engine(endless_target())
    expected = statistics(engine.generate(PROMPT, 12))

    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(engine, "report", None)
        stream = engine.stream(PROMPT, 30)
        next(stream)
        owner, _, method = part.partition(".")
        patched.setattr(getattr(engine, owner), method, interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(stream)
        assert engine.report is None
    assert statistics(engine.generate(PROMPT, 12)) == expected


@pytest.mark.parametrize("shared", [False, True])
def test_an_older_request_cannot_go_on_after_a_newer_one(engine: Engine, shared: bool) -> None:
    expected = engine.generate(PROMPT[::-1], 8).token_ids
    older = (autoregressive_engine(engine.target) if shared else engine).stream(PROMPT, 30)
    next(older)
    newer = engine.stream(PROMPT[::-1], 8)
    first = next(newer)
    with pytest.raises(SpecframeError, match="used for something else"):
        next(older)
    assert [*first.token_ids, *(i for chunk in newer for i in chunk.token_ids)] == expected


def test_a_request_cannot_go_on_after_its_target_scored_a_text(engine: Engine) -> None:
    stream = engine.stream(PROMPT, 30)
    next(stream)
    margins(engine.target, torch.tensor(PROMPT), torch.tensor(PROMPT))
    with pytest.raises(SpecframeError, match="used for something else"):
        next(stream)


def test_two_threads_never_share_an_engine_unnoticed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, leave, complaints = threading.Event(), threading.Event(), []
    tree_pass = engine.target.tree_pass

    def slow(tree: Any) -> Any:
        inside.set()
        leave.wait(20)
        return tree_pass(tree)

    monkeypatch.setattr(engine.target, "tree_pass", slow)
    other = threading.Thread(target=lambda: engine.generate(PROMPT, 3))
    other.start()
    inside.wait(20)
    try:
        engine.generate(PROMPT, 3)
    except SpecframeError as error:
        complaints.append(str(error))
    leave.set()
    other.join()
    assert "busy with another request" in complaints[0]


def test_requests_of_one_seed_and_prompt_are_equal_without_a_drafter_too() -> None:
    engine = autoregressive_engine(endless_target())
    first, second = engine.generate_all([PROMPT, PROMPT])
    assert statistics(first) == statistics(second)

"""A request may be sampled in its own way, as far as the engine's components can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_engines import PROMPT, endless_target

from specframe.config import RunConfig
from specframe.contracts.sampling import SamplingParams
from specframe.engine.assembly import build_engine
from specframe.engine.engine import Engine
from specframe.errors import UsageError


def engine_with(head: Path, **sampling: Any) -> Engine:
    config = RunConfig(
        dtype="float32",
        sampling=SamplingParams(**sampling),
        max_new_tokens=20,
        options={"vocabulary": {"capacity": 64}, "drafter": {"checkpoint": str(head)}},
    )
    return build_engine(config, target=endless_target())


def test_a_request_runs_and_reports_with_its_own_parameters(tiny_head: Path) -> None:
    own = {"temperature": 0.9, "top_p": 0.7, "top_k": 9, "min_p": 0.01, "repetition_penalty": 1.3, "seed": 4}
    engine = engine_with(tiny_head, temperature=2.0, seed=1)
    expected = engine_with(tiny_head, **own).generate(PROMPT)
    before = engine.generate(PROMPT)
    report = engine.generate(PROMPT, sampling=SamplingParams(**own))
    assert {name: getattr(report, name) for name in own} == own
    assert report.token_ids == expected.token_ids != before.token_ids
    after = engine.generate(PROMPT)
    assert (after.token_ids, after.temperature, after.seed) == (before.token_ids, 2.0, 1)


def test_a_penalty_of_its_own_changes_a_greedy_request(tiny_head: Path) -> None:
    penalised = SamplingParams(repetition_penalty=1.8)
    engine = engine_with(tiny_head)
    report = engine.generate(PROMPT, sampling=penalised)
    assert report.repetition_penalty == 1.8
    assert report.token_ids == engine_with(tiny_head, repetition_penalty=1.8).generate(PROMPT).token_ids
    assert report.token_ids != engine.generate(PROMPT).token_ids


@pytest.mark.parametrize(
    ("engines", "requests", "complaint"),
    [
        (0.0, 0.7, "^verifier 'greedy' cannot run here: .* the temperature is 0.7; use --verifier sampling"),
        (0.7, 0.0, "^verifier 'sampling' cannot run here: it samples and the temperature is 0"),
    ],
)
def test_a_request_that_the_verifier_cannot_verify_is_refused_before_anything_runs(
    tiny_head: Path, monkeypatch: pytest.MonkeyPatch, engines: float, requests: float, complaint: str
) -> None:
    engine = engine_with(tiny_head, temperature=engines)
    monkeypatch.setattr(engine.target, "prefill", lambda *_, **__: pytest.fail("something ran"))
    with pytest.raises(UsageError, match=complaint):
        engine.stream(PROMPT, sampling=SamplingParams(temperature=requests))

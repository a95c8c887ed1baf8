"""A live run and the replay of its own trace meet the same active set at every step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from seven_prompts import SEVEN_PROMPTS
from tiny_models import tiny_model, tiny_tokenizer
from traces import PROMPTS, autoregressive_engine, endless_target, record, scripted_engine

from specframe.config import RunConfig
from specframe.contracts.report import StepStats
from specframe.engine import draft_states
from specframe.engine.assembly import build_engine
from specframe.engine.engine import Engine
from specframe.errors import UsageError
from specframe.model.language_model import LanguageModel
from specframe.model.loading import CACHE_VARIABLE, cache_directory
from specframe.model.target import Target
from specframe.replay.costs import HeadCosts
from specframe.replay.offline import OfflineStrategy
from specframe.replay.recording import TraceRecorder
from specframe.replay.trace_file import read_trace
from specframe.replay.tuning import tune
from specframe.request.prompts import encode_prompt
from specframe.request.tasks import built_in_tasks
from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead


@pytest.fixture(scope="module")
def target() -> Target:
    return endless_target()


def replayed_steps(path: Path, strategy: str, options: dict[str, Any]) -> list[list[StepStats]]:
    trace = read_trace(path)
    offline = OfflineStrategy(trace.header, strategy, options)
    return [[step.stats for step in offline.replay(request).steps] for request in trace.requests]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"capacity": 16},
        {"capacity": 16, "eviction": "lru"},
        {"harvest_topk": 1, "prompt_window": 2},
        {"use_context": False},
        {"use_extension": False, "capacity": 12},
    ],
)
def test_a_tiny_model_agrees_step_by_step(target: Target, tmp_path: Path, options: dict[str, Any]) -> None:
    live = []
    with torch.inference_mode():
        for index, prompt_ids in enumerate(PROMPTS):
            engine = scripted_engine(target, prompt_ids, "nanospec", **options)
            record(engine, tmp_path / str(index), [prompt_ids])
            live.append(engine.steps)
    replayed = [
        replayed_steps(tmp_path / str(index), "nanospec", options)[0] for index in range(len(PROMPTS))
    ]
    assert replayed == live
    assert any(step.covered < len(step.emitted_ids) for steps in live for step in steps)
    assert any(step.accepted for steps in live for step in steps)


def test_smollm2_agrees_step_by_step(smollm2_bfloat16: Target, tmp_path: Path) -> None:
    config = RunConfig(
        strategy="nanospec",
        max_new_tokens=40,
        costs="off",  # a replay drafts at every pass, over the active set
        options={"vocabulary": {"capacity": "150", "eviction": "lru"}},
    )
    engine: Engine = build_engine(config, target=smollm2_bfloat16)
    live = []
    with TraceRecorder(engine, tmp_path / "t", topk=8, prompt_window=256, strategy="nanospec") as recorder:
        for task in ("code", "translation"):
            engine.generate(
                encode_prompt(smollm2_bfloat16.tokenizer, SEVEN_PROMPTS[task]), id=task, task=task
            )
            recorder.add()
            live.append(engine.steps)
    replayed = replayed_steps(tmp_path / "t", "nanospec", {"capacity": "150", "eviction": "lru"})
    assert replayed == live
    assert any(step.accepted for steps in live for step in steps)


@pytest.fixture
def short_states(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Screens are fitted to drafts of a few tokens of two tasks, which takes a second."""
    models, folder = cache_directory() / "models", tmp_path / "cache"
    folder.mkdir()
    (folder / "models").symlink_to(models, target_is_directory=True)
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    tasks = [task for task in built_in_tasks() if task.task in ("code", "translation")]
    chosen = [task for name in ("code", "translation") for task in tasks if task.task == name]
    monkeypatch.setattr(draft_states, "built_in_tasks", lambda: chosen[:4] + chosen[-4:])
    monkeypatch.setattr(draft_states, "_NEW_TOKENS", 12)


def test_smollm2_with_a_screen_agrees_step_by_step(
    smollm2_bfloat16: Target, tmp_path: Path, short_states: None
) -> None:
    screen = {"rank": 16, "candidates": 24}
    config = RunConfig(strategy="lowrank", max_new_tokens=32, costs="off", options={"vocabulary": screen})
    engine = build_engine(config, target=smollm2_bfloat16)
    prompt_ids = encode_prompt(smollm2_bfloat16.tokenizer, SEVEN_PROMPTS["translation"])
    with TraceRecorder(
        engine, tmp_path / "t", topk=1, prompt_window=1, strategy="lowrank", hidden=True
    ) as recorder:
        engine.generate(prompt_ids, id="translation", task="translation")
        recorder.add()
    assert replayed_steps(tmp_path / "t", "lowrank", screen) == [engine.steps]
    assert any(step.accepted for step in engine.steps)
    assert any(step.covered < len(step.emitted_ids) for step in engine.steps)


def test_a_trace_without_drafts_gives_coverage(target: Target, tmp_path: Path) -> None:
    record(autoregressive_engine(target), tmp_path / "t", PROMPTS)
    for steps in replayed_steps(tmp_path / "t", "nanospec", {}):
        assert {step.accepted for step in steps} == {0}
        assert 0 < sum(step.covered for step in steps) < len(steps)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model on disk, with a random EAGLE head."""
    folder = tmp_path_factory.mktemp("stored")
    model = tiny_model(max_position_embeddings=1024, initializer_range=0.05)
    model.generation_config.eos_token_id = None
    model.save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    torch.manual_seed(0)
    save_head(EagleHead(EagleConfig.for_target(model.config)), folder / "head")
    return folder


def recorded_on_disk(stored: Path, path: Path, strategy: str, **options: Any) -> list[list[StepStats]]:
    config = RunConfig(
        model=str(stored / "model"),
        strategy=strategy,
        dtype="float32",
        costs="off",
        max_new_tokens=40,
        options={"drafter": {"checkpoint": str(stored / "head")}, "vocabulary": options},
    )
    engine, live = build_engine(config), []
    with TraceRecorder(engine, path, topk=4, prompt_window=8, strategy=strategy, hidden=True) as recorder:
        for index, prompt_ids in enumerate(PROMPTS):
            engine.generate(prompt_ids, id=str(index), task="t")
            recorder.add()
            live.append(engine.steps)
    return live


SCREEN = {"rank": 8, "candidates": 12}
A_ROW_A_MICROSECOND = HeadCosts(
    hidden_size=64,
    dtype="float32",
    branching=4,
    machine="none",
    threads=1,
    sizes=[1, 101],
    head_s=[1e-6, 101e-6],
    fetches=[1, 101],
    fetch_s=[1e-6, 101e-6],
)


def test_a_screen_agrees_step_by_step_without_the_models_layers(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = recorded_on_disk(stored, tmp_path / "t", "lowrank", **SCREEN)
    monkeypatch.setattr(LanguageModel, "__init__", lambda *_: pytest.fail("a replay needs no model"))
    assert replayed_steps(tmp_path / "t", "lowrank", SCREEN) == live
    assert {step.active_size for steps in live for step in steps} == {12}
    covered = [step.covered < len(step.emitted_ids) for steps in live for step in steps]
    assert any(covered)
    assert not all(covered)


def test_what_was_recorded_over_everything_scores_any_screen(stored: Path, tmp_path: Path) -> None:
    recorded_on_disk(stored, tmp_path / "t", "full")
    shares = []
    for candidates in (4, 30, 101):
        steps = replayed_steps(tmp_path / "t", "lowrank", {"rank": 8, "candidates": candidates})
        shares.append(sum(step.covered for one in steps for step in one))
    emitted = sum(len(step.emitted_ids) for one in steps for step in one)
    assert shares[0] < shares[1] < shares[2] == emitted


def test_a_search_counts_what_a_screen_reads(stored: Path, tmp_path: Path) -> None:
    recorded_on_disk(stored, tmp_path / "t", "lowrank", **SCREEN)
    fixed = {"rows": "101", "candidates": "20"}
    found = tune(
        read_trace(tmp_path / "t"), "lowrank", fixed, A_ROW_A_MICROSECOND, coverage_floor=0, trials=12
    )
    assert found.best is not None
    assert found.best.options == {"rank": 16}
    assert [one.options["rank"] for one in found.front] == sorted(one.options["rank"] for one in found.front)


def test_a_trace_without_hidden_states_says_how_to_record_them(target: Target, tmp_path: Path) -> None:
    record(scripted_engine(target, PROMPTS[0]), tmp_path / "t", PROMPTS[:1])
    with pytest.raises(UsageError, match=r"screens hidden states.*record with --record-hidden"):
        replayed_steps(tmp_path / "t", "lowrank", SCREEN)


def test_a_model_with_another_head_now_is_refused(stored: Path, tmp_path: Path) -> None:
    recorded_on_disk(stored, tmp_path / "t", "full")
    trace = read_trace(tmp_path / "t")
    other = attrs.evolve(trace.header, head_digest="0123456789abcdef")
    with pytest.raises(UsageError, match="has another LM head now than the trace was recorded with"):
        OfflineStrategy(other, "lowrank", SCREEN)


def test_a_drafter_with_a_head_of_its_own_is_refused(stored: Path, tmp_path: Path) -> None:
    recorded_on_disk(stored, tmp_path / "t", "full")
    own = attrs.evolve(read_trace(tmp_path / "t").header, head_digest=None)
    with pytest.raises(UsageError, match="screens the LM head of drafter 'eagle', which is not that of"):
        OfflineStrategy(own, "lowrank", SCREEN)


def test_without_the_states_that_were_fitted_to_there_is_one_line(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded_on_disk(stored, tmp_path / "t", "full")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "empty"))
    with pytest.raises(UsageError, match=r"no hidden states of 'eagle' for .* are kept here to fit a screen"):
        OfflineStrategy(read_trace(tmp_path / "t").header, "lowrank", SCREEN)

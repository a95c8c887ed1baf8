"""A head that learns in use drafts otherwise, writes what the target writes, and forgets when it should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_engines import PROMPT, autoregressive_engine, repetitive_target

from specframe.config import RunConfig
from specframe.engine.assembly import build_engine
from specframe.engine.engine import Engine
from specframe.errors import UsageError
from specframe.model.target import Target
from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead

NEW_TOKENS = 48


@pytest.fixture(scope="module")
def target() -> Target:
    return repetitive_target()


@pytest.fixture(scope="module")
def head(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("head") / "head"
    save_head(EagleHead(EagleConfig.for_target(target.config)), folder)
    return folder


def engine_of(target: Target, head: Path, warm: Any = "off", **options: Any) -> Engine:
    # Nothing else learns or copies; all that is accepted the head has drafted.
    drafter = {"checkpoint": str(head), "lookup": "0", "adapt": "on", **options}
    config = RunConfig(
        strategy="full",
        dtype="float32",
        costs="off",
        warm=warm,
        max_new_tokens=NEW_TOKENS,
        options={"drafter": drafter},
    )
    return build_engine(config, target=target)


def passes(engine: Engine) -> int:
    # Few tokens: a longer text repeats itself, and teaches a head within the request all that there is.
    return engine.generate(PROMPT, 16).target_passes


def test_a_head_that_learns_drafts_better_and_writes_the_targets_text(target: Target, head: Path) -> None:
    frozen = engine_of(target, head, adapt="off").generate(PROMPT)
    learning = engine_of(target, head).generate(PROMPT)
    own = autoregressive_engine(target).generate(PROMPT, NEW_TOKENS)
    assert learning.token_ids == frozen.token_ids == own.token_ids
    assert learning.target_passes < frozen.target_passes


def test_what_was_learnt_is_gone_before_the_next_request_unless_it_is_warm(
    target: Target, head: Path
) -> None:
    cold, warm = engine_of(target, head), engine_of(target, head, warm="shared")
    first = passes(cold)
    assert passes(cold) == first
    assert passes(warm) == first
    assert passes(warm) < first
    warm.forget()
    assert passes(warm) == first


def test_who_speaks_to_a_head_learns_nothing_from_other_conversations(target: Target, head: Path) -> None:
    engine, mine, yours = engine_of(target, head, warm="conversation"), object(), object()
    first = engine.generate(PROMPT, turn_of=mine).target_passes
    assert engine.generate(PROMPT, turn_of=yours).target_passes == first
    assert engine.generate(PROMPT).target_passes == first


@pytest.mark.parametrize("lookup", ["0", "none"])
def test_a_head_that_was_stored_goes_on_as_one_that_was_kept(
    target: Target, head: Path, lookup: str, tmp_path: Path
) -> None:
    kept = engine_of(target, head, warm="shared", lookup=lookup)
    stored = {"lookup": lookup, "adapt_file": str(tmp_path / "learnt")}
    for _ in range(3):
        expected = passes(kept)
        assert passes(engine_of(target, head, **stored)) == expected


def test_a_file_is_no_way_round_a_request_that_forgets(target: Target, head: Path, tmp_path: Path) -> None:
    engine = engine_of(target, head, adapt_file=str(tmp_path / "learnt"))
    assert passes(engine) == passes(engine)


def test_a_file_without_learning_is_refused() -> None:
    with pytest.raises(UsageError, match=r"adapt_file is where adapt keeps.*; allowed: beside adapt=on"):
        build_engine(RunConfig(options={"drafter": {"adapt_file": "learnt"}}))

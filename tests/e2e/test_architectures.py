"""Targets of many architectures say what transformers' ``generate`` says, or are refused with the reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from architectures import ARCHITECTURES, OUTCOMES
from scripted import ScriptedDrafter
from tiny_engines import PROMPT, drafting_engine
from tiny_models import reference_greedy

from specframe.errors import UsageError

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
RUNNING = [name for name, one in ARCHITECTURES.items() if one.outcome != "refused"]
REFUSED = [name for name, one in ARCHITECTURES.items() if one.outcome == "refused"]


@pytest.mark.parametrize("name", RUNNING)
def test_a_target_says_what_generate_says(name: str) -> None:
    architecture = ARCHITECTURES[name]
    target = architecture.target()
    assert (target.forward_name == "lean") == (architecture.outcome == "lean")
    prompt = torch.tensor(PROMPT * 4)  # longer than any window here
    expected = reference_greedy(target.model, prompt, 24)
    drafter = ScriptedDrafter(target.output_head, expected)
    report = drafting_engine(target, drafter=drafter, prefill_chunk=15).generate(prompt, 24)
    assert report.token_ids == expected
    assert report.tau > 1


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_a_target_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UsageError, match=re.escape(ARCHITECTURES[name].reason)):
        ARCHITECTURES[name].target()


def test_the_page_about_models_lists_every_architecture_with_what_becomes_of_it() -> None:
    page = PAGE.read_text(encoding="utf-8").partition("\n## Quantised")[0]
    rows = re.findall(r"^\| ([^|]+?) \| (\w+) \|", page, flags=re.MULTILINE)
    listed = {name: outcome for name, outcome in rows if outcome in OUTCOMES}
    assert listed == {name: one.outcome for name, one in ARCHITECTURES.items()}

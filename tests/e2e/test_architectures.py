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

from specframe.config import RunConfig
from specframe.engine.assembly import build_engine
from specframe.engine.engine import Engine
from specframe.errors import UsageError
from specframe.model.target import Target
from specframe_plugins.training.origin import target_fingerprint

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
# Their layers read several states of a token, and inputs of all layers at once.
LAYERS_TOGETHER = ("Gemma 3n",)
RUNNING = [name for name, one in ARCHITECTURES.items() if one.outcome != "refused"]
REFUSED = [name for name, one in ARCHITECTURES.items() if one.outcome == "refused"]


def first_layers(target: Target, layers: int) -> Engine:
    options = {"drafter": {"layers": layers}}
    config = RunConfig(
        strategy="full", drafter="draft-model", dtype="float32", gather="torch", options=options
    )
    return build_engine(config, target=target)


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


@pytest.mark.parametrize("name", RUNNING)
def test_the_first_layers_of_a_target_draft_or_are_refused_when_they_are_taken(name: str) -> None:
    target = ARCHITECTURES[name].target()
    if name in LAYERS_TOGETHER:
        with pytest.raises(UsageError, match="does not run here"):
            first_layers(target, 2)
        return
    prompt = torch.tensor(PROMPT * 4)
    expected = reference_greedy(target.model, prompt, 12)
    assert first_layers(target, 2).generate(prompt, 12).token_ids == expected


@pytest.mark.parametrize("name", RUNNING)
def test_features_are_the_inputs_of_the_layers_of_any_decoder(name: str) -> None:
    target = ARCHITECTURES[name].target()
    ids = torch.tensor(PROMPT)
    target.begin(40, feature_layers=(2, 0))
    if name in LAYERS_TOGETHER:
        with pytest.raises(UsageError, match="the layers read several states of a token"):
            target.prefill(ids)
        return
    states = target.model(input_ids=ids[None], output_hidden_states=True).hidden_states
    expected = torch.cat([states[2][0], states[0][0]], dim=-1)
    torch.testing.assert_close(target.prefill(ids).features, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["Llama", "GPT-2"])
def test_training_data_of_any_decoder_is_known_by_its_last_layer(name: str) -> None:
    target = ARCHITECTURES[name].target()
    before = target_fingerprint(target)
    with torch.no_grad():
        for parameter in [*target.decoder.parameters()][-16:-1]:
            parameter.mul_(2.0)
    assert target_fingerprint(target) != before


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_a_target_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UsageError, match=re.escape(ARCHITECTURES[name].reason)):
        ARCHITECTURES[name].target()


def test_the_page_about_models_lists_every_architecture_with_what_becomes_of_it() -> None:
    page = PAGE.read_text(encoding="utf-8").partition("\n## Quantised")[0]
    rows = re.findall(r"^\| ([^|]+?) \| (\w+) \|", page, flags=re.MULTILINE)
    listed = {name: outcome for name, outcome in rows if outcome in OUTCOMES}
    assert listed == {name: one.outcome for name, one in ARCHITECTURES.items()}

"""The doctor tells a head that predicts its target from one that merely loads."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from tiny_models import VOCAB_SIZE, tiny_target

import specframe_plugins.drafters.eagle.diagnosis as diagnosis
import specframe_plugins.drafters.probe as probe
from specframe.model.target import Target
from specframe.registry.components import DoctorRequest, Finding
from specframe.registry.manager import create_plugin_manager, shipped_data
from specframe_plugins.drafters.eagle.checkpoint import load_chosen, save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead

TEXT = " ".join(f"w{i}" for i in random.Random(0).choices(range(3, VOCAB_SIZE), k=50))


@pytest.fixture(scope="module")
def target() -> Target:
    return tiny_target()


@pytest.fixture
def untrained(target: Target) -> EagleHead:
    torch.manual_seed(0)
    return EagleHead(EagleConfig.for_target(target.config))


def overfit(head: EagleHead, target: Target) -> None:
    """Train a head on the target's own choices after every token of the text."""
    ids = torch.tensor(target.tokenizer(TEXT)["input_ids"])
    hidden = target.model.model(ids[None]).last_hidden_state[0]
    choices = target.output_head.logits(hidden).argmax(dim=-1)[1:]
    embeddings, positions = target.embed_tokens(ids[1:])[None], torch.arange(len(ids) - 1)[None]
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(60):
        logits = target.output_head.logits(head(embeddings, hidden[None, :-1], positions)[0])
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, choices).backward()
        optimizer.step()


def diagnose(target: Target | None, checkpoint: Path | None = None) -> list[Finding]:
    return list(
        diagnosis.diagnose(
            DoctorRequest(
                device=torch.device("cpu"),
                dtype=torch.float32,
                compile_targets=(),
                target=target,
                checkpoint=checkpoint,
                data=shipped_data(create_plugin_manager()),
            )
        )
    )


@pytest.fixture(autouse=True)
def _words_of_the_tiny_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PROBE_TEXT", TEXT)


def test_a_head_that_predicts_its_target_is_fine(
    target: Target, untrained: EagleHead, tmp_path: Path
) -> None:
    overfit(untrained, target)
    save_head(untrained, tmp_path / "head")
    assert [finding.ok for finding in diagnose(target, tmp_path / "head")] == [True, True]


def test_a_head_that_loads_but_does_not_predict_its_target_is_broken(
    target: Target, untrained: EagleHead, tmp_path: Path
) -> None:
    save_head(untrained, tmp_path / "head")
    fits, predicts = diagnose(target, tmp_path / "head")
    assert fits.ok
    assert "does not say which tokenizer" in fits.message
    assert predicts.ok is False
    assert "below 10%" in predicts.message


def test_a_head_of_another_size_is_broken(target: Target, tmp_path: Path) -> None:
    narrow = tiny_target(hidden_size=32)
    save_head(EagleHead(EagleConfig.for_target(narrow.config)), tmp_path / "head")
    (finding,) = diagnose(target, tmp_path / "head")
    assert finding.ok is False
    assert "needs [64, 128]" in finding.message


def test_a_head_of_another_tokenizer_is_broken(target: Target, tmp_path: Path) -> None:
    config = EagleConfig.for_target(target.config, target_name="other", tokenizer_fingerprint="0" * 16)
    save_head(EagleHead(config), tmp_path / "head")
    (finding,) = diagnose(target, tmp_path / "head")
    assert finding.ok is False
    assert "fingerprint 0000000000000000" in finding.message


def test_a_target_that_no_head_ships_for_is_information(target: Target) -> None:
    (finding,) = diagnose(target)
    assert finding.ok is None
    assert "no EAGLE head ships for tiny-llama" in finding.message


def test_without_a_target_there_is_nothing_to_say() -> None:
    assert diagnose(None) == []


def test_the_head_that_ships_predicts_its_target(smollm2: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert [finding.ok for finding in diagnose(smollm2)] == [True, True]


def test_a_head_with_swapped_inputs_is_broken(
    smollm2: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    head, _ = load_chosen(None, smollm2, shipped_data(create_plugin_manager()))
    head.fc.weight.copy_(head.fc.weight.roll(smollm2.hidden_size, dims=1))
    save_head(head, tmp_path / "swapped")
    assert [finding.ok for finding in diagnose(smollm2, tmp_path / "swapped")] == [True, False]

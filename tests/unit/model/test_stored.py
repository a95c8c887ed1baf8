"""A model that stays on disk computes what the loaded model computes, and is in memory once."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from lean_models import VARIANTS, model_of
from tiny_models import MODEL_TYPES, reference_greedy, tiny_model, tiny_tokenizer

from specframe.config import RunConfig
from specframe.engine.assembly import build_engine
from specframe.errors import SpecframeError
from specframe.model import loading
from specframe.model.answer import Record
from specframe.model.forward import attention_windows
from specframe.model.lean.parts import DecoderFacts, layer_types
from specframe.model.lean.rotary import RotaryTables
from specframe.model.loading import LoadedModel, load_pretrained, open_pretrained
from specframe.model.stored import StoredModel
from specframe.model.target import Target

PROMPT = torch.tensor([5, 9, 17, 33, 5, 9])


@pytest.fixture(autouse=True)
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it is kept what models say, for this test alone."""
    monkeypatch.setattr(loading, "answer_directory", lambda: tmp_path / "answers")
    return tmp_path / "answers"


def saved(model: Any, folder: Path, **how: Any) -> str:
    model.save_pretrained(folder, **how)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def opened(spec: str, dtype: torch.dtype = torch.float32) -> Target:
    return Target(open_pretrained(spec, dtype))


def left_on_disk(target: Target) -> bool:
    return target.forward_name == "lean" and "model" not in vars(target)


def greedy(target: Target) -> list[int]:
    config = RunConfig(strategy="autoregressive", max_new_tokens=24)
    return build_engine(config, target=target).generate(PROMPT).token_ids


@pytest.mark.parametrize("name", [*MODEL_TYPES, "mistral", *VARIANTS])
def test_it_says_what_the_model_says(name: str, tmp_path: Path) -> None:
    model = model_of(name)
    target = opened(saved(model, tmp_path / "model"))
    assert left_on_disk(target)
    target.begin(len(PROMPT))
    logits = target.prefill(PROMPT).logits
    torch.testing.assert_close(logits, model(input_ids=PROMPT[None]).logits[0, -1:], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", MODEL_TYPES)
def test_its_greedy_text_is_that_of_transformers(name: str, tmp_path: Path) -> None:
    model = model_of(name)
    text = greedy(opened(saved(model, tmp_path / "model")))
    assert text == reference_greedy(model, PROMPT, 24)[: len(text)]


def test_what_a_model_said_before_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*args: object, **rules: object) -> None:
        raise AssertionError("the model was loaded")

    spec = saved(tiny_model(), tmp_path / "model")
    first = greedy(opened(spec))
    monkeypatch.setattr(StoredModel, "_reference", load)
    monkeypatch.setattr(loading, "_load", load)
    assert greedy(opened(spec)) == first


def test_a_checkpoint_that_has_changed_is_asked_again(tmp_path: Path, answers: Path) -> None:
    spec = saved(tiny_model(), tmp_path / "model")
    opened(spec)
    saved(tiny_model(seed=1), tmp_path / "model")
    os.utime(tmp_path / "model" / "model.safetensors", ns=(1, 1))
    assert left_on_disk(opened(spec))
    assert len(list(answers.iterdir())) == 2


def test_an_answer_that_cannot_be_read_is_asked_again(tmp_path: Path, answers: Path) -> None:
    spec = saved(tiny_model(), tmp_path / "model")
    opened(spec)
    (answer,) = answers.iterdir()
    answer.write_bytes(answer.read_bytes()[:-10])
    assert left_on_disk(opened(spec))
    assert Record.read(answer) is not None


def test_without_a_place_for_answers_it_runs_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(loading, "answer_directory", lambda: tmp_path / "file" / "answers")
    assert left_on_disk(opened(saved(tiny_model(), tmp_path / "model")))


def test_a_forward_that_gives_another_answer_is_replaced_by_the_model_with_a_warning(
    tmp_path: Path, answers: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = saved(tiny_model(), tmp_path / "model")
    opened(spec)
    (path,) = answers.iterdir()
    record = Record.read(path)
    assert record is not None
    record.answer.logits.mul_(-1)
    record.save(path)
    with caplog.at_level(logging.WARNING):
        target = opened(spec)
    assert "forward lean does not reproduce" in caplog.text
    assert greedy(target) == greedy(Target(load_pretrained(spec, torch.float32)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_dtype_may_be_another_than_the_files(dtype: torch.dtype, tmp_path: Path) -> None:
    spec = saved(model_of("llama").to(torch.bfloat16), tmp_path / "model")
    ours, theirs = opened(spec, dtype), Target(load_pretrained(spec, dtype))
    ids = torch.arange(3, 60)
    assert ours.dtype == dtype
    assert torch.equal(ours.embed_tokens(ids), theirs.embed_tokens(ids))
    assert torch.equal(ours.output_head.rows(ids), theirs.output_head.rows(ids))
    assert torch.equal(ours.output_head.weight, theirs.output_head.weight)
    assert greedy(ours) == greedy(theirs)


def test_a_sharded_checkpoint_is_one_model(tmp_path: Path) -> None:
    spec = saved(model_of("qwen3"), tmp_path / "model", max_shard_size="50KB")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 1
    target = opened(spec)
    assert left_on_disk(target)
    assert greedy(target) == greedy(Target(load_pretrained(spec, torch.float32)))


def test_the_model_is_there_when_it_is_asked_for(tmp_path: Path) -> None:
    target = opened(saved(model_of("gemma3"), tmp_path / "model"))
    hidden = target.decoder(input_ids=PROMPT[None]).last_hidden_state[0]
    target.begin(len(PROMPT))
    torch.testing.assert_close(target.prefill(PROMPT).features, hidden, rtol=1e-4, atol=1e-4)
    assert target.parameters == sum(parameter.numel() for parameter in target.model.parameters())


def test_its_head_holds_the_packed_weight_alone(tmp_path: Path) -> None:
    head = opened(saved(tiny_model(), tmp_path / "model")).output_head
    assert sum(tensor.numel() for tensor in head.tensors) == head.vocab_size * head.hidden_size


@pytest.mark.parametrize("name", ["model.layers.0.mlp.extra.weight", "visual.weight"])
def test_a_checkpoint_with_unknown_weights_is_loaded(name: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    spec = saved(tiny_model(), tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    save_file({**load_file(file), name: torch.zeros(2)}, file, metadata={"format": "pt"})
    assert isinstance(open_pretrained(spec, torch.float32), LoadedModel)


@pytest.mark.parametrize(("changes", "dtype"), [({"hidden_act": "relu"}, torch.float32), ({}, torch.float16)])
def test_what_the_lean_forward_cannot_run_is_left_to_transformers(
    changes: dict[str, Any], dtype: torch.dtype, tmp_path: Path
) -> None:
    spec = saved(tiny_model(**changes), tmp_path / "model")
    target = opened(spec, dtype)
    assert not left_on_disk(target)
    assert target.dtype == dtype


def test_transformers_can_be_chosen(tmp_path: Path) -> None:
    stored = open_pretrained(saved(tiny_model(), tmp_path / "model"), torch.float32)
    assert Target(stored, "transformers").forward_name == "transformers"


@pytest.mark.parametrize("name", [*MODEL_TYPES, *(name for name in VARIANTS if "rope" in name)])
def test_far_positions_are_rotated_as_the_models_own_module_rotates_them(name: str) -> None:
    model = model_of(name)
    kinds = layer_types(model.config)
    tables = RotaryTables(DecoderFacts.of(model, kinds).frequencies, torch.float32, torch.device("cpu"))
    tables.extend(20_000)
    positions = torch.tensor([0, 1, 999, 19_999])
    assert set(tables.at(positions)) == set(attention_windows(model.config))
    for kind, (cos, signed_sin) in tables.at(positions).items():
        rotary = model.model.rotary_emb
        which = [kind] if isinstance(rotary.rope_type, dict) else []
        own = rotary(torch.empty(1), positions[None], *which)
        half = cos.shape[-1] // 2
        assert torch.equal(cos[:, 0], own[0][0])
        assert torch.equal(signed_sin[:, 0, half:], own[1][0][:, half:])
        assert torch.equal(signed_sin[:, 0, :half], -own[1][0][:, :half])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"sliding_window": 1}, "has a sliding window of one token"),
        ({"sliding_window": 0}, "does not run here"),
        ({"sliding_window": None}, "does not run here"),
        ({"query_pre_attn_scalar": -1}, "does not run here"),
        ({"vocab_size": 50}, "cannot load model"),
        ({"logit_scale": "x"}, "has the logit_scale 'x'; allowed: a number"),
        ({"logits_scaling": [1]}, r"has the logits_scaling \[1\]; allowed: a number"),
        ({"eos_token_id": 10**30}, "has the eos_token_id 1000"),
    ],
)
def test_a_config_that_makes_no_model_is_refused_in_one_line(
    changes: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    spec, file = saved(tiny_model("gemma3"), tmp_path), tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(SpecframeError, match=complaint) as caught:
        opened(spec)
    assert "\n" not in str(caught.value)

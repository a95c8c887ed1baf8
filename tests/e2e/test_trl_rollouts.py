"""Rollouts of TRL's GRPO trainer, written by specframe, are those of the weights as they are by then."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import reference_greedy, tiny_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

pytest.importorskip("trl", reason="TRL is not installed: pip install trl")

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

import specframe.transformers
from specframe import RunConfig

# Those of TRL and of what it calls.
pytestmark = pytest.mark.filterwarnings("ignore")

PAGE = (Path(__file__).parents[2] / "docs" / "training-with-trl.md").read_text(encoding="utf-8")
STEPS = 3
Generate = Callable[..., Tensor]


def reward(completions: list[str], **_: Any) -> list[float]:
    return [float(len(completion)) for completion in completions]


@pytest.fixture
def dataset() -> Dataset:
    return Dataset.from_dict({"prompt": ["w5 w17 w42", "w8 w9", "w70 w71 w3 w5 w17", "w4 w4"]})


@pytest.fixture
def tokenizer(tiny_directory: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_directory)


@pytest.fixture
def train(dataset: Dataset, tokenizer: Any, tmp_path: Path) -> Callable[[Any], list[float]]:
    """``train(model)`` trains for a few steps and returns losses, gradients and rewards."""

    def trained(model: Any) -> list[float]:
        config = GRPOConfig(
            str(tmp_path),
            max_steps=STEPS,
            optim="sgd",
            learning_rate=0.1,
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=12,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
        )
        trainer = GRPOTrainer(
            model=model, reward_funcs=reward, args=config, train_dataset=dataset, processing_class=tokenizer
        )
        trainer.train()
        steps = [entry for entry in trainer.state.log_history if "loss" in entry]
        return [entry[figure] for entry in steps for figure in ("loss", "grad_norm", "reward")]

    return trained


@pytest.fixture
def with_specframe(tokenizer: Any) -> Callable[[Any], Generate]:
    """``with_specframe(model)`` is the model's ``generate`` of the page."""

    def made(model: Any) -> Generate:
        config = RunConfig(drafter="suffix", warm="shared")
        specframe.transformers.engine_for(model, config, tokenizer)  # which keeps the tokenizer
        return partial(model.generate, custom_generate=specframe.transformers.generate, specframe=config)

    return made


def test_the_recipe_of_the_page_runs(
    dataset: Dataset, tiny_directory: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tiny_directory)
    names: dict[str, Any] = {"model": model, "tokenizer": tokenizer, "dataset": dataset, "reward": reward}
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    exec(compile(block, "docs/training-with-trl.md", "exec"), names)
    assert names["trainer"].state.global_step == names["trainer"].args.max_steps


def test_after_every_step_texts_are_those_of_the_changed_weights(
    train: Callable[[Any], list[float]], with_specframe: Callable[[Any], Generate]
) -> None:
    model, norms = tiny_model(), []
    plain, drafted = model.generate, with_specframe(model)

    def rollout(*arguments: Any, **settings: Any) -> Tensor:
        norms.append(float(model.lm_head.weight.norm()))
        for ids, mask in zip(settings["input_ids"], settings["attention_mask"], strict=True):
            prompt = ids[mask.bool()]
            text = drafted(
                prompt[None], attention_mask=mask[mask.bool()][None], do_sample=False, max_new_tokens=12
            )
            model.generate = plain
            assert text[0, len(prompt) :].tolist() == reference_greedy(model, prompt, 12)
            model.generate = rollout
        return drafted(*arguments, **settings)

    model.generate = rollout
    train(model)
    assert len(set(norms)) == STEPS


def test_specframe_changes_nothing_of_a_training_but_its_rollouts(
    train: Callable[[Any], list[float]], with_specframe: Callable[[Any], Generate]
) -> None:
    rollouts: list[Tensor] = []
    model, without = tiny_model(), tiny_model()
    drafted = with_specframe(model)

    def rollout(*arguments: Any, **settings: Any) -> Tensor:
        rollouts.append(drafted(*arguments, **settings))
        return rollouts[-1]

    model.generate = rollout
    figures = train(model)
    again = iter(rollouts)
    without.generate = lambda *arguments, **settings: next(again)
    # Products round by where tensors lie in memory, and every rollout moves them.
    assert train(without) == pytest.approx(figures, rel=1e-5, abs=1e-6)
    for trained, expected in zip(model.parameters(), without.parameters(), strict=True):
        torch.testing.assert_close(trained, expected)

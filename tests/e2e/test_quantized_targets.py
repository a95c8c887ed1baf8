"""Quantized and adapted targets: their text is that of the model's own greedy ``generate``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_models import reference_greedy, tiny_model, tiny_tokenizer
from torch import Tensor, nn

from specframe import transformers as specframe_generate
from specframe.config import RunConfig
from specframe.engine.assembly import build_engine
from specframe.errors import UsageError
from specframe.model.loading import LoadedModel
from specframe.model.target import Target
from specframe.transformers import engine_for

PROMPT = torch.tensor([5, 17, 42, 8, 33, 12, 70, 64, 21, 9, 11, 5, 17, 42, 8])
CONFIG = RunConfig(strategy="full", drafter="lookup", dtype="float32", gather="torch")


class EightBitLinear(nn.Linear):
    """A linear that keeps bytes and a scale per row, as bitsandbytes does."""

    scale: Tensor

    @classmethod
    def of(cls, linear: nn.Linear) -> EightBitLinear:
        made = cls(linear.in_features, linear.out_features, bias=linear.bias is not None)
        scale = linear.weight.detach().abs().amax(dim=1, keepdim=True) / 127
        rounded = (linear.weight.detach() / scale).round().to(torch.int8)
        made.weight = nn.Parameter(rounded, requires_grad=False)
        made.bias = linear.bias
        made.register_buffer("scale", scale)
        return made

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale, self.bias)


class Wrapped(nn.Module):
    """A linear behind a module that is none."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.inner = EightBitLinear.of(linear)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out


def with_other_linears(model: Any, make: Callable[[nn.Linear], nn.Module], head: bool) -> Any:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and (head or name != "lm_head"):
                setattr(parent, name, make(child))
    return model


def target_of(model: Any) -> Target:
    return Target(LoadedModel(model.requires_grad_(False), tiny_tokenizer(), "tiny"))


def assert_writes_what_it_would_alone(model: Any, forward: str = "transformers") -> None:
    target = target_of(model)
    engine = build_engine(CONFIG, target=target)
    assert engine.generate(PROMPT, 30).token_ids == reference_greedy(model, PROMPT, 30)
    assert target.forward_name == forward


@pytest.mark.parametrize("head", [False, True], ids=["layers", "layers and LM head"])
@pytest.mark.parametrize("make", [EightBitLinear.of, Wrapped], ids=["a kind of linear", "no kind of linear"])
def test_linears_that_keep_bytes(make: Callable[[nn.Linear], nn.Module], head: bool) -> None:
    assert_writes_what_it_would_alone(with_other_linears(tiny_model(), make, head))


@pytest.mark.parametrize("head", [False, True], ids=["layers", "layers and LM head"])
def test_weights_that_torchao_quantized(head: bool) -> None:
    quantization = pytest.importorskip("torchao.quantization")
    model = tiny_model()

    def chosen(module: nn.Module, name: str) -> bool:
        return type(module) is nn.Linear and (head or name != "lm_head")

    quantization.quantize_(model, quantization.Int8WeightOnlyConfig(), filter_fn=chosen)
    assert_writes_what_it_would_alone(model)


@pytest.mark.parametrize("kind", [nn.Linear, "lm_head"], ids=["layers", "LM head"])
def test_inputs_that_are_quantized_all_at_once_are_refused(kind: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls it deprecated, and it is in use
        model = torch.ao.quantization.quantize_dynamic(tiny_model(), {kind}, dtype=torch.qint8)
    with pytest.raises(UsageError, match="all at once, so that what it says of a token depends on what else"):
        target_of(model)


def test_an_lm_head_that_is_no_linear_map_is_refused() -> None:
    model = tiny_model()
    model.lm_head = nn.Sequential(model.lm_head, nn.Tanh())
    with pytest.raises(UsageError, match="computes its logits in a way this version cannot reproduce"):
        target_of(model)


def adapted(modules: list[str]) -> Any:
    """Return a model with random LoRA adapters, as ``peft`` makes it."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, target_modules=modules, init_lora_weights=False)
    model = tiny_model()
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it asks transformers by an old name
        return peft.get_peft_model(model, config).eval()


def written(model: Any) -> list[int]:
    """Return what a model generates with this engine as its loop."""
    engine = engine_for(model, CONFIG, tiny_tokenizer())
    ids = model.generate(
        PROMPT[None],
        attention_mask=torch.ones_like(PROMPT)[None],
        do_sample=False,
        max_new_tokens=30,
        custom_generate=specframe_generate.generate,
        specframe=engine,
    )
    return ids[0, len(PROMPT) :].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("modules", [["q_proj", "down_proj"], ["lm_head", "v_proj"]])
def test_adapters_that_are_attached_switched_off_and_merged(modules: list[str]) -> None:
    peft_model = adapted(modules)
    model = peft_model.base_model.model
    plain = reference_greedy(tiny_model(), PROMPT, 30)
    attached = reference_greedy(model, PROMPT, 30)
    assert attached != plain
    assert written(model) == attached
    with peft_model.disable_adapter():
        assert written(model) == plain
    assert written(model) == attached
    assert written(peft_model.merge_and_unload()) == attached


def test_an_engine_of_what_peft_returns_is_one_of_the_model_inside() -> None:
    peft_model = adapted(["q_proj", "down_proj"])
    expected = reference_greedy(peft_model.base_model.model, PROMPT, 30)
    assert written(peft_model) == expected


def prompted(kind: str) -> Any:
    """Return a model with four virtual tokens before every prompt."""
    peft = pytest.importorskip("peft")
    config = getattr(peft, kind)(task_type="CAUSAL_LM", num_virtual_tokens=4)
    model = tiny_model()
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it asks transformers by an old name
        return peft.get_peft_model(model, config).eval()


@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PrefixTuningConfig", "PromptEncoderConfig"])
def test_virtual_tokens_are_refused_where_they_count(kind: str) -> None:
    peft_model = prompted(kind)
    model = peft_model.get_base_model()
    engine = engine_for(model, CONFIG, tiny_tokenizer())
    ids = {"input_ids": PROMPT[None], "attention_mask": torch.ones_like(PROMPT)[None], "max_new_tokens": 30}
    with pytest.raises(UsageError, match="puts virtual tokens before a prompt"):
        peft_model.generate(**ids, custom_generate=specframe_generate.generate, specframe=engine)
    with pytest.raises(UsageError, match="puts virtual tokens before a prompt"):
        engine_for(peft_model, CONFIG, tiny_tokenizer())
    with peft_model.disable_adapter():
        assert engine.generate(PROMPT, 30).token_ids == reference_greedy(model, PROMPT, 30)


def test_attention_that_an_adapter_wraps_runs_plain() -> None:
    peft = pytest.importorskip("peft")
    config = peft.AdaptionPromptConfig(task_type="CAUSAL_LM", adapter_len=3, adapter_layers=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it asks transformers by an old name
        peft_model = peft.get_peft_model(tiny_model(), config).eval()
    with torch.no_grad():
        for name, parameter in peft_model.named_parameters():
            if "adaption" in name:
                parameter.normal_()
    assert written(peft_model) == reference_greedy(peft_model.get_base_model(), PROMPT, 30)

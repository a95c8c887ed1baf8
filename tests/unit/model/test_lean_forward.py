"""The lean forward computes what transformers computes, layer by layer; what it does not know it leaves."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from decoders import IDS, append, path_to, random_tree, tree_of_levels
from lean_models import VARIANTS, model_of
from tiny_models import MODEL_TYPES, tiny_model, tiny_target, tiny_tokenizer
from torch import Tensor

from specframe.errors import UsageError
from specframe.model.forward import attention_windows, causal_mask
from specframe.model.lean.architecture import why_not
from specframe.model.lean.forward import LeanForward
from specframe.model.lean.parts import ModelParts
from specframe.model.loading import LoadedModel
from specframe.model.target import Target
from specframe.model.transformers_forward import TransformersForward

pytestmark = pytest.mark.numbers


@pytest.fixture(params=[*MODEL_TYPES, "mistral", *VARIANTS])
def model(request: pytest.FixtureRequest) -> Any:
    return model_of(request.param)


def forwards(model: Any, capacity: int) -> tuple[LeanForward, TransformersForward]:
    windows = attention_windows(model.config)
    pair = LeanForward(ModelParts(model), windows), TransformersForward(model, windows)
    for forward in pair:
        forward.begin(capacity)
    return pair


def test_every_layer_turns_the_models_hidden_states_into_the_models_next(model: Any) -> None:
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    for layer in model.model.layers:
        layer.register_forward_pre_hook(lambda module, args: inputs.append(args[0][0]))
        layer.register_forward_hook(lambda module, args, output: outputs.append(output[0]))
    model(input_ids=IDS[None])
    lean, _ = forwards(model, len(IDS))
    positions = torch.arange(len(IDS))
    rotations = lean._rotary.at(positions)
    memories = lean._memories(positions, causal_mask(len(IDS), IDS.device))
    for index, layer in enumerate(lean._layers):
        output = layer(inputs[index], rotations[layer.kind], memories[index])
        torch.testing.assert_close(output, outputs[index], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("chunk", [1, 7, 40])
def test_a_text_in_chunks_gives_the_models_own_hidden_states(model: Any, chunk: int) -> None:
    lean, _ = forwards(model, len(IDS))
    hidden = torch.cat([append(lean, ids) for ids in IDS.split(chunk)])
    expected = model.model(input_ids=IDS[None]).last_hidden_state[0]
    torch.testing.assert_close(hidden, expected, rtol=1e-4, atol=1e-4)


def test_trees_and_committed_paths_give_what_the_transformers_forward_gives(model: Any) -> None:
    pair = forwards(model, 200)
    for forward in pair:
        append(forward, IDS[:5])
    for step in range(12):
        tree = random_tree(2 + step, seed=step)
        lean, plain = (
            forward.run(tree.token_ids, forward.committed + tree.depths, tree.ancestor_mask())[0]
            for forward in pair
        )
        torch.testing.assert_close(lean, plain, rtol=1e-3, atol=1e-3)
        for forward in pair:
            forward.commit(path_to(tree, len(tree) - 1))
    assert pair[0].committed == pair[1].committed > 17


def test_a_tree_run_level_by_level_is_the_tree_run_at_once(model: Any) -> None:
    tree = tree_of_levels(depth=12, width=3)  # deeper than the sliding windows are wide
    path, mask = path_to(tree, len(tree) - 1), tree.ancestor_mask()
    for forward in forwards(model, 200):
        append(forward, IDS[:20])
        positions = forward.committed + tree.depths
        at_once = forward.run(tree.token_ids, positions, mask)[0]
        forward.commit(path)
        after = append(forward, IDS[20:])
        forward.begin(200, 20)
        levels = []
        for level in torch.arange(len(tree)).split([1, *[3] * 12]):
            end = int(level[-1]) + 1
            levels.append(forward.run(tree.token_ids[level], positions[:end], mask[level, :end])[0])
        torch.testing.assert_close(torch.cat(levels), at_once, rtol=1e-3, atol=1e-3)
        forward.commit(path)
        torch.testing.assert_close(append(forward, IDS[20:]), after, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", [*MODEL_TYPES, "mistral"])
def test_in_bfloat16_it_is_as_close_to_float32_as_transformers_is(name: str) -> None:
    exact = model_of(name)
    expected = exact.model(input_ids=IDS[None]).last_hidden_state[0]
    rounded = model_of(name).bfloat16()
    lean, plain = (append(forward, IDS).float() for forward in forwards(rounded, len(IDS)))
    errors = [(hidden - expected).norm() / expected.norm() for hidden in (lean, plain)]
    assert errors[0] <= 1.25 * errors[1] + 0.002


def test_a_context_of_many_windows_stays_exact() -> None:
    model = model_of("gemma3")
    ids = torch.randint(3, 101, (1400,), generator=torch.Generator().manual_seed(1))
    lean, plain = forwards(model, 1500)
    for forward in (lean, plain):
        for part in ids.split(512):
            append(forward, part)
    tree = random_tree(9, seed=3)
    got, expected = (
        forward.run(tree.token_ids, forward.committed + tree.depths, tree.ancestor_mask())[0]
        for forward in (lean, plain)
    )
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


def test_a_longer_request_gets_a_larger_cache_and_a_shorter_one_sees_nothing_of_it() -> None:
    lean, _ = forwards(model_of("qwen3"), 8)
    short = append(lean, IDS[:8])
    lean.begin(600)
    append(lean, IDS.repeat(15))
    lean.begin(8)
    assert lean.committed == 0
    assert torch.equal(append(lean, IDS[:8]), short)


def test_a_conversation_that_outgrows_the_cache_goes_on_from_what_was_kept() -> None:
    lean, plain = forwards(model_of("gemma3"), 300)
    for forward in (lean, plain):
        append(forward, IDS.repeat(7))
        forward.begin(700, keep=250)
    got, expected = (append(forward, IDS.repeat(4)) for forward in (lean, plain))
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_models_it_knows_run_lean_on_a_cpu(model_type: str) -> None:
    assert tiny_target(model_type).forward_name == "lean"


def test_transformers_can_be_chosen() -> None:
    assert (
        Target(LoadedModel(tiny_model(), tiny_tokenizer(), "tiny"), "transformers").forward_name
        == "transformers"
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "gemma3", "attn_logit_softcapping": 50.0}, "soft-capped"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 100.0}}, "'dynamic'"),
        ({"hidden_act": "relu"}, "'relu'"),
    ],
)
def test_an_unknown_variant_is_named_and_left_to_transformers(changes: dict[str, Any], reason: str) -> None:
    model = tiny_model(changes.pop("model_type", "llama"), **changes)
    assert reason in str(why_not(model))
    assert Target(LoadedModel(model, tiny_tokenizer(), "tiny")).forward_name == "transformers"
    with pytest.raises(UsageError, match="cannot run tiny"):
        Target(LoadedModel(model, tiny_tokenizer(), "tiny"), "lean")


def test_a_layer_with_a_part_of_its_own_is_left_to_transformers() -> None:
    model = tiny_model()
    model.model.layers[1].extra_norm = torch.nn.RMSNorm(64)
    assert why_not(model) == "layer 1 has extra_norm.weight"


def test_a_wrapped_linear_is_left_to_transformers() -> None:
    class Scaled(torch.nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    model = tiny_model()
    model.model.layers[0].mlp.up_proj = Scaled(64, 96, bias=False)
    assert why_not(model) == "layer 0 has another module in place of the linear mlp.up_proj"


def test_a_layer_that_something_listens_to_is_left_to_transformers() -> None:
    model = tiny_model()
    model.model.layers[0].register_forward_hook(lambda module, args, output: output * 1.5)
    target = Target(LoadedModel(model, tiny_tokenizer(), "tiny"))
    assert target.forward_name == "transformers"


def test_a_model_that_computes_something_else_falls_back_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = tiny_model()
    layer = model.model.layers[0]

    class Louder(type(layer)):  # type: ignore[misc]  # whatever it is
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs) * 1.5

    layer.__class__ = Louder
    with caplog.at_level(logging.WARNING):
        target = Target(LoadedModel(model, tiny_tokenizer(), "tiny"))
    assert target.forward_name == "transformers"
    assert "forward lean does not reproduce tiny" in caplog.text


def test_a_head_that_nobody_can_reproduce_is_refused() -> None:
    model = tiny_model()
    model.lm_head.register_forward_hook(lambda module, args, output: output * 1.5)
    with pytest.raises(UsageError, match="cannot reproduce"):
        Target(LoadedModel(model, tiny_tokenizer(), "tiny"))

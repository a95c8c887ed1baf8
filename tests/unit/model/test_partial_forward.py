"""Parts of layers are left out as if they added nothing, and nothing of it stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from decoders import IDS, append, random_tree
from lean_models import model_of
from tiny_models import MODEL_TYPES, tiny_model
from transformers import AutoModelForCausalLM, GptOssConfig, OPTConfig

from specframe.model.borrowed import has_hooks
from specframe.model.forward import LeftOut, PartialForward, attention_windows, causal_mask
from specframe.model.lean.forward import LeanForward
from specframe.model.lean.parts import ModelParts
from specframe.model.transformers_forward import TransformersForward

pytestmark = pytest.mark.numbers

SOME = LeftOut(attention=frozenset({1}), mlp=frozenset({0, 2}))


@pytest.fixture(params=MODEL_TYPES)
def model(request: pytest.FixtureRequest) -> Any:
    return model_of(request.param)


def build(model: Any, kind: str) -> PartialForward:
    windows = attention_windows(model.config)
    forward = (
        TransformersForward(model, windows) if kind == "plain" else LeanForward(ModelParts(model), windows)
    )
    forward.begin(200)
    return forward


@pytest.fixture(params=["lean", "plain"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param  # type: ignore[no-any-return]


def without(model: Any, left_out: LeftOut) -> None:
    """Let some parts of a model's layers add nothing."""
    with torch.no_grad():
        for index in left_out.attention:
            model.model.layers[index].self_attn.o_proj.weight.zero_()
        for index in left_out.mlp:
            model.model.layers[index].mlp.down_proj.weight.zero_()


def test_what_is_left_out_adds_nothing(model: Any, kind: str) -> None:
    forward = build(model, kind)
    append(forward, IDS[:20])
    tree = random_tree(9, seed=2)
    positions, mask = forward.committed + tree.depths, tree.ancestor_mask()
    hidden = forward.run_partly(tree.token_ids, positions, mask, SOME)
    # The context was read by the whole model; from the tree on, parts of it add nothing.
    without(model, SOME)
    expected = TransformersForward(model, attention_windows(model.config))
    expected.begin(200)
    copied(forward, expected, kind)
    torch.testing.assert_close(hidden, expected.run(tree.token_ids, positions, mask)[0], rtol=1e-3, atol=1e-3)


def copied(source: Any, into: TransformersForward, kind: str) -> None:
    """Give a forward the committed keys and values of another one."""
    into._cache.keep(0)
    into.run(IDS[:20], torch.arange(20), causal_mask(20, IDS.device))
    into.commit(tuple(range(20)))
    for index, layer in enumerate(into._cache.tree_layers):
        assert layer.keys is not None
        assert layer.values is not None
        keys, values = kept(source, kind)[index]
        layer.keys[:, :, :20], layer.values[:, :, :20] = keys, values


def kept(forward: Any, kind: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return copies of the committed keys and values of every layer."""
    end = forward.committed
    if kind == "lean":
        return [
            (pair[0, None, :, :end].clone(), pair[1, None, :, :end].clone()) for pair in forward._cache.data
        ]
    return [
        (layer.keys[:, :, :end].clone(), layer.values[:, :, :end].clone())
        for layer in forward._cache.tree_layers
    ]


def test_with_nothing_left_out_it_is_the_whole_pass(model: Any, kind: str) -> None:
    forward = build(model, kind)
    append(forward, IDS[:20])
    tree = random_tree(9, seed=2)
    inputs = tree.token_ids, forward.committed + tree.depths, tree.ancestor_mask()
    torch.testing.assert_close(forward.run_partly(*inputs, LeftOut()), forward.run(*inputs)[0])


def test_the_committed_keys_and_values_stay_as_they_were(model: Any, kind: str) -> None:
    forward = build(model, kind)
    append(forward, IDS[:30])
    before = kept(forward, kind)
    tree = random_tree(9, seed=2)
    forward.run_partly(tree.token_ids, forward.committed + tree.depths, tree.ancestor_mask(), SOME)
    again = torch.arange(18, 30)
    forward.run_partly(IDS[18:30], again, causal_mask(12, IDS.device), SOME, context=18)
    assert forward.committed == 30
    for was, now in zip(before, kept(forward, kind), strict=True):
        assert torch.equal(was[0], now[0])
        assert torch.equal(was[1], now[1])


@pytest.mark.parametrize("context", [0, 3, 25])
def test_a_shorter_context_is_all_that_is_seen(model: Any, kind: str, context: int) -> None:
    forward = build(model, kind)
    append(forward, IDS[:30])
    positions, mask = torch.arange(context, 30), causal_mask(30 - context, IDS.device)
    hidden = forward.run_partly(IDS[context:30], positions, mask, SOME, context=context)
    forward.begin(200, keep=context)
    expected = forward.run_partly(IDS[context:30], positions, mask, SOME)
    torch.testing.assert_close(hidden, expected, rtol=1e-4, atol=1e-4)


def test_a_single_token_can_have_a_shorter_context(model: Any, kind: str) -> None:
    forward = build(model, kind)
    append(forward, IDS[:30])
    last = IDS[29:30], torch.tensor([29]), causal_mask(1, IDS.device), SOME
    hidden = forward.run_partly(*last, context=29)
    forward.begin(200, keep=29)
    torch.testing.assert_close(hidden, forward.run_partly(*last), rtol=1e-4, atol=1e-4)


def test_the_modules_have_their_own_forwards_afterwards(model: Any) -> None:
    forward = build(model, "plain")
    forward.run_partly(IDS, torch.arange(len(IDS)), causal_mask(len(IDS), IDS.device), SOME)
    assert not has_hooks(model)


def test_a_forward_that_somebody_gave_a_module_is_given_back() -> None:
    model = tiny_model()
    attention = model.model.layers[1].self_attn
    own = attention.forward = attention.forward
    forward = build(model, "plain")
    forward.run_partly(IDS, torch.arange(len(IDS)), causal_mask(len(IDS), IDS.device), SOME)
    assert attention.__dict__["forward"] is own


def test_an_mlp_that_returns_more_than_its_output_can_be_left_out() -> None:
    config = GptOssConfig(
        vocab_size=101, hidden_size=64, intermediate_size=32, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, num_local_experts=4, num_experts_per_tok=2, pad_token_id=0,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    forward = build(model, "plain")
    everything = LeftOut(frozenset(range(3)), frozenset(range(3)))
    hidden = forward.run_partly(IDS, torch.arange(len(IDS)), causal_mask(len(IDS), IDS.device), everything)
    torch.testing.assert_close(hidden, model.model.norm(model.model.embed_tokens(IDS)))


def test_layers_without_parts_of_these_names_are_named() -> None:
    config = OPTConfig(vocab_size=101, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, ffn_dim=96)
    forward = TransformersForward(AutoModelForCausalLM.from_config(config), {"": None})
    assert forward.why_whole() == "OPTDecoderLayer has no MLP called mlp, feed_forward, block_sparse_moe"

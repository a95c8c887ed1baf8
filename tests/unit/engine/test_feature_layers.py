"""Features from inside the target: the inputs of the layers that a drafter names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import MODEL_TYPES, tiny_target

from specframe.contracts.kinds import ForwardName
from specframe.contracts.tree import DraftTree
from specframe.model.loading import LoadedModel
from specframe.model.target import Target

IDS = torch.tensor([5, 9, 13, 70, 70, 41, 8, 22, 90, 17, 33])
FORWARDS: tuple[ForwardName, ...] = ("lean", "transformers")


def target_of(model_type: str, forward: ForwardName) -> Target:
    plain = tiny_target(model_type)
    return Target(LoadedModel(plain.model, plain.tokenizer, "tiny"), forward)


def expected_features(target: Target, layers: tuple[int, ...]) -> torch.Tensor:
    output: Any = target.model(input_ids=IDS[None], output_hidden_states=True)
    return torch.cat([output.hidden_states[layer][0] for layer in layers], dim=-1)


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_features_are_the_inputs_of_the_named_layers_side_by_side(
    model_type: str, forward: ForwardName
) -> None:
    target = target_of(model_type, forward)
    target.begin(40, feature_layers=(0, 2, 1))
    features = target.prefill(IDS, chunk=4).features
    torch.testing.assert_close(features, expected_features(target, (0, 2, 1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("forward", FORWARDS)
def test_a_tree_pass_has_features_of_the_same_layers(forward: ForwardName) -> None:
    target = target_of("qwen3", forward)
    target.begin(40, feature_layers=(1, 2))
    target.prefill(IDS[:-1])
    features = target.tree_pass(DraftTree.root_only(int(IDS[-1]))).features
    torch.testing.assert_close(features, expected_features(target, (1, 2))[-1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("forward", FORWARDS)
def test_the_number_of_layers_stands_for_the_output_before_the_final_norm(forward: ForwardName) -> None:
    target = target_of("llama", forward)
    target.begin(40, feature_layers=(3,))
    features = target.prefill(IDS).features
    last = target.model(input_ids=IDS[None], output_hidden_states=True).hidden_states[-1][0]
    torch.testing.assert_close(target.decoder.norm(features), last, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("forward", FORWARDS)
def test_the_next_request_has_the_features_that_it_asks_for(forward: ForwardName) -> None:
    target = target_of("llama", forward)
    target.begin(40, feature_layers=(0, 1, 2))
    target.prefill(IDS)
    target.begin(40)
    assert target.prefill(IDS).features.shape == (len(IDS), target.hidden_size)

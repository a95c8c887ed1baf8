"""The cached head computes what the stored head computes, however the pairs arrive."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from specframe_plugins.drafters.eagle import cached
from specframe_plugins.drafters.eagle.cached import CachedHead
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead

HIDDEN = 16
VARIANTS = {
    "own": {},
    "public": {"input_norms": False, "output_norm": False, "fc_bias": True},
    "biased": {"attention_bias": True, "hidden_act": "gelu_pytorch_tanh"},
    "one key head": {"num_key_value_heads": 1},
    "no shared keys": {"num_key_value_heads": 4},
}


def random_head(**options: object) -> EagleHead:
    torch.manual_seed(0)
    sizes = {"intermediate_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4}
    head = EagleHead(EagleConfig(vocab_size=32, hidden_size=HIDDEN, **{**sizes, **options}))
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return head.eval().requires_grad_(False)


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def head(request: pytest.FixtureRequest) -> EagleHead:
    return random_head(**request.param)


@pytest.fixture(autouse=True)
def a_small_cache_that_must_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "_INITIAL_CAPACITY", 3)


def pairs(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    embeddings, features = torch.randn(2, n, HIDDEN, generator=generator)
    return embeddings, features


def forward(head: EagleHead, embeddings: Tensor, features: Tensor) -> Tensor:
    """Run the stored head over one causal sequence [T, H]."""
    positions = torch.arange(len(embeddings))[None]
    out: Tensor = head(embeddings[None], features[None], positions)[0]
    return out


@pytest.mark.parametrize("pieces", [[9], [1, 8], [4, 1, 1, 3]])
def test_pairs_in_pieces_predict_what_the_whole_sequence_predicts(head: EagleHead, pieces: list[int]) -> None:
    runner = CachedHead(head)
    embeddings, features = pairs(9)
    for piece in zip(embeddings.split(pieces), features.split(pieces), strict=True):
        predicted = runner.extend(*piece)
    torch.testing.assert_close(predicted, forward(head, embeddings, features)[-1:])


def test_remembered_pairs_are_attended_to(head: EagleHead) -> None:
    runner = CachedHead(head)
    embeddings, features = pairs(9)
    runner.remember(embeddings[:-1], features[:-1])
    predicted = runner.extend(embeddings[-1:], features[-1:])
    torch.testing.assert_close(predicted, forward(head, embeddings, features)[-1:])


def test_every_drafted_node_is_predicted_as_the_end_of_its_own_path(head: EagleHead) -> None:
    # Two beams per level; the second level descends from row 1 alone, the third from rows 0 and 1.
    runner = CachedHead(head)
    embeddings, features = pairs(4)
    runner.extend(embeddings, features)
    node_embeddings, node_features = pairs(6)
    paths = [[0], [1], [1, 2], [1, 3], [1, 2, 4], [1, 3, 5]]
    ancestors = torch.zeros(6, 6, dtype=torch.bool)
    for node, path in enumerate(paths):
        ancestors[node, path] = True
    predicted = [
        runner.extend_level(node_embeddings[a:b], node_features[a:b], ancestors[a:b, :b])
        for a, b in ((0, 2), (2, 4), (4, 6))
    ]
    expected = [
        forward(
            head,
            torch.cat((embeddings, node_embeddings[path])),
            torch.cat((features, node_features[path])),
        )[-1]
        for path in paths
    ]
    torch.testing.assert_close(torch.cat(predicted), torch.stack(expected))


def test_dropped_levels_leave_no_trace(head: EagleHead) -> None:
    runner = CachedHead(head)
    embeddings, features = pairs(5)
    runner.extend(embeddings[:4], features[:4])
    runner.extend_level(*pairs(2), torch.eye(2, dtype=torch.bool))
    runner.drop_levels()
    predicted = runner.extend(embeddings[4:], features[4:])
    torch.testing.assert_close(predicted, forward(head, embeddings, features)[-1:])


def test_a_cleared_cache_starts_a_new_sequence(head: EagleHead) -> None:
    runner = CachedHead(head)
    runner.extend(*pairs(7))
    runner.keep(0)
    embeddings, features = pairs(5)
    predicted = runner.extend(embeddings, features)
    torch.testing.assert_close(predicted, forward(head, embeddings, features)[-1:])


def test_bfloat16_stays_near_float32() -> None:
    head = random_head()
    embeddings, features = pairs(9)
    exact = CachedHead(head).extend(embeddings, features)
    rounded = CachedHead(head.bfloat16()).extend(embeddings.bfloat16(), features.bfloat16())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.05)

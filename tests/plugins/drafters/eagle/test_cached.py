"""The cached head computes what the stored head computes, however the pairs arrive."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from specframe_plugins.drafters.eagle import cached
from specframe_plugins.drafters.eagle.cached import CachedHead, span_of
from specframe_plugins.drafters.eagle.inputs import StepInputs
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead

pytestmark = pytest.mark.numbers

HIDDEN = 16
VARIANTS = {
    "own": {},
    "public": {"input_norms": False, "output_norm": False, "fc_bias": True},
    "biased": {"attention_bias": True, "hidden_act": "gelu_pytorch_tanh"},
    "one key head": {"num_key_value_heads": 1},
    "no shared keys": {"num_key_value_heads": 4},
    "one induction head": {"num_attention_heads": 6, "num_key_value_heads": 3, "induction_groups": 1},
    "induction heads alone": {"induction_groups": 2},
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
    monkeypatch.setattr(cached, "_SMALLEST_SPAN", 2)


def pairs(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    embeddings, features = torch.randn(2, n, HIDDEN, generator=generator)
    return embeddings, features


class Runner:
    """A cached head with the inputs of its steps; two beams, and three levels."""

    def __init__(self, head: EagleHead) -> None:
        self.cached = CachedHead(head, beams=2, levels=3)
        self.inputs = StepInputs(5, 3, HIDDEN, self.cached.device, self.cached.dtype)

    def extend(self, embeddings: Tensor, features: Tensor) -> Tensor:
        """Commit pairs and return the feature after the last; what pads the step must not matter."""
        runner, inputs, n = self.cached, self.inputs, len(embeddings)
        many = max(n - inputs.pairs, 0)
        runner.remember(embeddings[:many], features[:many])
        embeddings, features, n = embeddings[many:], features[many:], n - many
        runner.reserve(inputs.reach)
        inputs.fill([0] * n, features, runner.front + runner.length)
        runner.length += n
        padded = torch.cat([embeddings, torch.full((inputs.pairs - n, HIDDEN), 7.0).to(embeddings)])
        inputs.features[n:] = 7.0
        return runner.commit(padded, inputs.features, inputs, span_of(runner.length))


def forward(head: EagleHead, embeddings: Tensor, features: Tensor) -> Tensor:
    """Run the stored head over one causal sequence [T, H]."""
    positions = torch.arange(len(embeddings))[None]
    out: Tensor = head(embeddings[None], features[None], positions)[0]
    return out


@pytest.mark.parametrize("pieces", [[9], [1, 8], [4, 1, 1, 3]])
def test_pairs_in_pieces_predict_what_the_whole_sequence_predicts(head: EagleHead, pieces: list[int]) -> None:
    runner = Runner(head)
    embeddings, features = pairs(9)
    for piece in zip(embeddings.split(pieces), features.split(pieces), strict=True):
        predicted = runner.extend(*piece)
    torch.testing.assert_close(predicted, forward(head, embeddings, features)[-1:])


def test_remembered_pairs_are_attended_to(head: EagleHead) -> None:
    runner = Runner(head)
    embeddings, features = pairs(9)
    runner.cached.remember(embeddings[:-1], features[:-1])
    predicted = runner.extend(embeddings[-1:], features[-1:])
    torch.testing.assert_close(predicted, forward(head, embeddings, features)[-1:])


def test_every_drafted_node_is_predicted_as_the_end_of_its_own_path(head: EagleHead) -> None:
    # Two beams per level; the second level descends from row 1 alone, the third from rows 0 and 1.
    runner = Runner(head)
    embeddings, features = pairs(4)
    runner.extend(embeddings, features)
    node_embeddings, node_features = pairs(6)
    paths = [[0], [1], [1, 2], [1, 3], [1, 2, 4], [1, 3, 5]]
    predicted = [
        runner.cached.extend_level(
            node_embeddings[2 * level - 2 : 2 * level],
            node_features[2 * level - 2 : 2 * level],
            torch.tensor(rows),
            level,
        )
        for level, rows in ((1, [0, 0]), (2, [1, 1]), (3, [0, 1]))
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


def test_drafted_levels_leave_no_trace(head: EagleHead) -> None:
    runner = Runner(head)
    embeddings, features = pairs(5)
    runner.extend(embeddings[:4], features[:4])
    for level in (1, 2, 3):
        runner.cached.extend_level(*pairs(2), torch.tensor([1, 0]), level)
    predicted = runner.extend(embeddings[4:], features[4:])
    torch.testing.assert_close(predicted, forward(head, embeddings, features)[-1:])


@pytest.mark.parametrize("kept", [1, 4, 6])
def test_kept_pairs_are_attended_to_as_if_they_were_read_anew(head: EagleHead, kept: int) -> None:
    runner = Runner(head)
    embeddings, features = pairs(7)
    runner.extend(embeddings, features)
    runner.cached.extend_level(*pairs(2), torch.tensor([0, 0]), 1)
    runner.cached.keep(kept)
    others, of_others = pairs(3)
    predicted = runner.extend(others, of_others)
    whole = torch.cat((embeddings[:kept], others)), torch.cat((features[:kept], of_others))
    torch.testing.assert_close(predicted, forward(head, *whole)[-1:])


def test_values_of_an_earlier_sequence_that_are_not_finite_do_not_spread(head: EagleHead) -> None:
    runner = Runner(head)
    embeddings, features = pairs(7)
    runner.extend(embeddings, features * torch.nan)
    runner.cached.keep(0)
    embeddings, features = pairs(3)
    predicted = runner.extend(embeddings, features)
    torch.testing.assert_close(predicted, forward(head, embeddings, features)[-1:])


@pytest.mark.parametrize("pairs", [1, 2, 63, 64, 65, 300, 1024, 1025, 5000])
def test_a_span_holds_its_pairs_and_little_more(pairs: int) -> None:
    cached._SMALLEST_SPAN = 64
    assert pairs <= span_of(pairs) < pairs + max(64, pairs / 4)
    assert span_of(span_of(pairs)) == span_of(pairs)


def test_a_cleared_cache_starts_a_new_sequence(head: EagleHead) -> None:
    runner = Runner(head)
    runner.extend(*pairs(7))
    runner.cached.keep(0)
    embeddings, features = pairs(5)
    predicted = runner.extend(embeddings, features)
    torch.testing.assert_close(predicted, forward(head, embeddings, features)[-1:])


def test_bfloat16_stays_near_float32() -> None:
    head = random_head()
    embeddings, features = pairs(9)
    exact = Runner(head).extend(embeddings, features)
    rounded = Runner(head.bfloat16()).extend(embeddings.bfloat16(), features.bfloat16())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.05)

"""The loss over part of the vocabulary, and the best tokens among tied ones."""

import pytest
import torch

from specframe.contracts.lm_head import OutputHead
from specframe_plugins.training.exact import best
from specframe_plugins.training.objective import choose_subset, head_loss, make_targets, rows_of


def random_head(vocab=50, hidden=16, **settings):
    torch.manual_seed(0)
    return OutputHead(torch.randn(vocab, hidden), **settings)


@pytest.mark.parametrize("settings", [{}, {"scale": 0.5}, {"softcap": 5.0}, {"bias": torch.randn(50)}])
def test_the_whole_vocabulary_gives_the_full_softmax(settings):
    head = random_head(**settings)
    predicted, features = torch.randn(7, 16), torch.randn(7, 16)
    subset = choose_subset(torch.arange(50), torch.tensor([3]), 10, 50, torch.Generator())
    targets = make_targets(rows_of(head, subset.ids), subset, features, soft_share=0.3)
    loss = head_loss(predicted, head, targets, torch.ones(7), 2.0, feature_weight=0.7)
    truth = head.logits(features)
    wanted = 0.3 * truth.softmax(-1) + 0.7 * torch.nn.functional.one_hot(truth.argmax(-1), 50)
    entropy = -(wanted * head.logits(predicted).log_softmax(-1)).sum(-1)
    distance = torch.nn.functional.smooth_l1_loss(predicted / 2, features / 2, reduction="none").mean(-1)
    torch.testing.assert_close(loss, (entropy + 0.7 * distance).mean())
    alone = head_loss(predicted, head, targets, torch.ones(7), 2.0, feature_weight=0.0)
    torch.testing.assert_close(alone, entropy.mean())


def test_the_rest_of_the_vocabulary_is_represented_without_bias():
    head, features = random_head(), 0.3 * torch.randn(1, 16, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(0)
    sums = []
    for _ in range(4000):
        subset = choose_subset(torch.arange(10), torch.tensor([20, 21]), 8, 50, generator)
        sums.append((head.logits(features)[0, subset.ids] + subset.log_weights).exp().sum())
    estimate, exact = torch.stack(sums).mean(), head.logits(features).exp().sum()
    torch.testing.assert_close(estimate, exact, rtol=0.02, atol=0)


def test_tokens_of_the_batch_are_always_in_the_softmax():
    present = torch.tensor([[40, 41], [42, 40]])
    subset = choose_subset(torch.tensor([1, 2]), present, 5, 50, torch.Generator().manual_seed(0))
    assert {1, 2, 40, 41, 42} <= set(subset.ids.tolist())
    assert len(set(subset.ids.tolist())) == len(subset.ids) == 10
    weights = dict(zip(subset.ids.tolist(), subset.log_weights.tolist(), strict=True))
    assert all(weights[token] == 0 for token in (1, 2, 40, 41, 42))


def test_float32_decides_among_tied_logits():
    hidden = torch.zeros(1, 8, dtype=torch.bfloat16)
    hidden[0, 0] = 16.0
    weight = torch.zeros(4, 8, dtype=torch.bfloat16)
    weight[1, 0], weight[2, 0] = 1.0, 1.0
    hidden[0, 1], weight[2, 1] = 0.001, 1.0
    head = OutputHead(weight)
    assert head.logits(hidden)[0, 1] == head.logits(hidden)[0, 2]
    logits, ids = best(head, hidden, 3)
    assert ids[0, 0] == 2
    assert (logits.diff() <= 0).all()

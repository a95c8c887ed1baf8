"""Heads get induction heads without losing anything, and those find likes before they learn."""

import pytest
import torch

from specframe_plugins.drafters.eagle.induction import default_groups, hold_likeness, with_induction
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.drafters.eagle3.model import Eagle3Config, Eagle3Head

SIZES = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


def eagle(**options):
    torch.manual_seed(0)
    return EagleHead(EagleConfig(**{**SIZES, **options})).eval()


def eagle3(**options):
    torch.manual_seed(0)
    three = {"target_hidden_size": 16, "draft_vocab_size": 32, "feature_layers": (1, 2, 3)}
    return Eagle3Head(Eagle3Config(**SIZES, **three, **options)).eval()


def predicted(head):
    generator = torch.Generator().manual_seed(1)
    embeddings, features = torch.randn(2, 2, 7, 16, generator=generator)
    with torch.no_grad():
        return head(embeddings, features, torch.arange(7).expand(2, 7))


@pytest.mark.parametrize(
    "head",
    [eagle(), eagle(attention_bias=True), eagle(induction_groups=1), eagle3(), eagle3(own_embedding=True)],
)
def test_a_head_that_gets_induction_heads_computes_what_it_computed(head):
    had = head.config.induction_groups
    grown = with_induction(head, had + 2)
    assert grown.config.induction_groups == had + 2
    assert grown.config.num_key_value_heads == head.config.num_key_value_heads + 2
    torch.testing.assert_close(predicted(grown), predicted(head))


@pytest.mark.parametrize("groups", [0, 1, 2])
def test_a_head_with_as_many_induction_heads_stays_what_it_is(groups):
    head = eagle(induction_groups=2)
    assert with_induction(head, groups) is head


@pytest.mark.parametrize(
    ("hidden", "head_dim", "groups"), [(4096, 128, 2), (576, 64, 4), (640, 256, 1), (16, 8, 2)]
)
def test_the_values_of_new_induction_heads_have_256_dimensions_together(hidden, head_dim, groups):
    config = EagleConfig(**{**SIZES, "hidden_size": hidden, "head_dim": head_dim})
    assert default_groups(config) == groups


def test_a_new_induction_head_looks_behind_the_earlier_pair_that_is_most_alike():
    attention = with_induction(eagle(hidden_size=256, head_dim=64), 1).attention
    earlier = torch.randn(20, 256)
    alike = earlier[7] + 0.1 * torch.randn(256)
    with torch.no_grad():
        query = attention.q_proj(alike)[-2 * 64 :].view(2, 64)
        scores = query @ attention.k_proj(earlier)[:, -64:].T
    assert scores.argmax(dim=1).tolist() == [7, 7]


def test_likeness_is_held_for_the_queries_and_keys_of_induction_heads_alone():
    head = with_induction(eagle(attention_bias=True), 1)
    for parameter in head.parameters():
        parameter.grad = torch.ones_like(parameter)
    hold_likeness(head, progress=0.0)
    dropped = {name: int((p.grad == 0).sum()) for name, p in head.named_parameters() if (p.grad == 0).any()}
    rows = {"q_proj": 2 * 8, "k_proj": 8}
    assert dropped == {
        f"layers.0.self_attn.{name}.{kind}": count * (16 if kind == "weight" else 1)
        for name, count in rows.items()
        for kind in ("weight", "bias")
    }
    for name, count in rows.items():
        assert (getattr(head.attention, name).weight.grad[-count:] == 0).all()


def test_likeness_is_held_in_the_first_fifth_of_a_training():
    head = with_induction(eagle(), 1)
    for parameter in head.parameters():
        parameter.grad = torch.ones_like(parameter)
    hold_likeness(head, progress=0.2)
    assert all((parameter.grad == 1).all() for parameter in head.parameters())
    hold_likeness(head, progress=0.19)
    assert any((parameter.grad == 0).any() for parameter in head.parameters())

"""The verifier ``sampling``: draws from the target, from one generator, at visited nodes alone."""

from __future__ import annotations

import pytest
import torch

from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree
from specframe.errors import SpecframeError
from specframe.testing import check_verifier
from specframe_plugins.verifiers.acceptance.drawing import draw, draw_rows
from specframe_plugins.verifiers.sampling import SamplingVerifier

VOCAB_SIZE = 6


def chain(*tokens: int) -> DraftTree:
    nodes = torch.arange(len(tokens))
    return DraftTree(torch.tensor(tokens), nodes - 1, nodes, torch.zeros(len(tokens)))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_keeps_the_promises_of_its_protocol() -> None:
    check_verifier(SamplingVerifier())


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    weights = torch.tensor([0.0, 1e-30, 0.0, 3.0, 0.0])
    generator = seeded()
    assert {draw(weights, generator) for _ in range(300)} == {3}
    assert set(draw_rows(weights.expand(300, -1), generator)) == {3}


def test_draws_follow_the_weights() -> None:
    weights = torch.tensor([1.0, 2.0, 5.0])
    counts = torch.bincount(torch.tensor(draw_rows(weights.expand(80_000, -1), seeded())))
    assert torch.allclose(counts / 80_000, weights / 8, atol=0.01)


def test_rows_and_single_draws_use_the_generator_alike() -> None:
    weights = torch.rand(20, 7, generator=seeded(1))
    one_by_one = seeded()
    assert draw_rows(weights, seeded()) == [draw(row, one_by_one) for row in weights]


def test_a_row_that_is_no_distribution_draws_minus_one() -> None:
    weights = torch.ones(2, 3)
    weights[1, 2] = torch.nan
    assert draw_rows(weights, seeded())[1] == -1


def test_logits_that_are_not_finite_off_the_path_do_not_matter() -> None:
    logits = torch.full((2, VOCAB_SIZE), -1e9)
    logits[0, 4] = 0.0
    logits[1] = torch.nan
    tree = chain(0, 2)
    assert SamplingVerifier().verify(tree, TargetLogits(logits, tree), seeded()).next_token == 4


def test_logits_that_are_not_finite_on_the_path_are_an_error() -> None:
    logits = torch.zeros(2, VOCAB_SIZE)
    logits[0] = torch.nan
    tree = chain(3, 2)
    with pytest.raises(SpecframeError, match="NaN or infinite after token 3"):
        SamplingVerifier().verify(tree, TargetLogits(logits, tree), seeded())

"""Top-p over a few candidates keeps what transformers keeps."""

from __future__ import annotations

import pytest
import torch
from transformers import TopPLogitsWarper

from specframe.request.processors import NucleusWarper

NO_IDS = torch.empty(4, 0, dtype=torch.int64)


@pytest.mark.parametrize("vocab_size", [5, 1024, 6000])
@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999])
def test_it_keeps_the_tokens_that_transformers_keeps(vocab_size: int, spread: float, top_p: float) -> None:
    scores = spread * torch.randn(4, vocab_size, generator=torch.Generator().manual_seed(1))
    kept = NucleusWarper(top_p)(NO_IDS, scores).isfinite()
    expected = TopPLogitsWarper(top_p)(NO_IDS, scores).isfinite()  # type: ignore[arg-type]
    # The sum of thousands of float32 numbers may round across p at the least likely token that is kept.
    assert (kept != expected).sum() <= (0 if vocab_size < 2000 else 4)
    assert kept.any(dim=-1).all()


def test_the_scores_that_are_kept_stay_as_they_are() -> None:
    scores = 3.0 * torch.randn(2, 5000, generator=torch.Generator().manual_seed(2))
    nucleus = NucleusWarper(0.8)(NO_IDS[:2], scores)
    assert torch.equal(nucleus[nucleus.isfinite()], scores[nucleus.isfinite()])


def test_tokens_ruled_out_before_stay_ruled_out() -> None:
    scores = torch.full((1, 3000), -torch.inf)
    scores[0, [7, 1999]] = torch.tensor([1.0, 0.9])
    assert NucleusWarper(0.95)(NO_IDS[:1], scores).isfinite().nonzero()[:, 1].tolist() == [7, 1999]


def test_logits_that_are_not_finite_stay_so() -> None:
    scores = torch.zeros(1, 3000)
    scores[0, 5] = torch.nan
    assert NucleusWarper(0.9)(NO_IDS[:1], scores).isnan().any()

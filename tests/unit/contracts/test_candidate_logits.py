"""Logits of a few rows for each state are those of the whole head there."""

from __future__ import annotations

import pytest
import torch

from specframe.contracts.lm_head import OutputHead


@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_they_are_what_the_whole_head_says(n: int, bias: bool) -> None:
    source = torch.Generator().manual_seed(0)
    weight = torch.randn(50, 8, generator=source)
    head = OutputHead(
        weight, bias=torch.randn(50, generator=source) if bias else None, scale=0.5, softcap=3.0
    )
    hidden, rows = torch.randn(n, 8, generator=source), torch.randint(50, (n, 7), generator=source)
    expected = head.logits(hidden).gather(1, rows)
    torch.testing.assert_close(head.candidate_logits(hidden, rows), expected)


def test_where_there_is_no_row_there_is_no_logit() -> None:
    head = OutputHead(torch.ones(5, 2))
    logits = head.candidate_logits(torch.ones(1, 2), torch.tensor([[3, -1]]))
    assert logits.tolist() == [[2.0, -torch.inf]]


def test_a_state_has_the_same_logits_in_any_batch() -> None:
    source = torch.Generator().manual_seed(0)
    head = OutputHead(torch.randn(50, 8, generator=source))
    hidden, rows = torch.randn(4, 8, generator=source), torch.randint(50, (4, 7), generator=source)
    alone = [head.candidate_logits(hidden[i : i + 1], rows[i : i + 1]) for i in range(4)]
    assert torch.equal(head.candidate_logits(hidden, rows), torch.cat(alone))

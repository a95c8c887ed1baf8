from __future__ import annotations

import torch

from specframe.bench.audit import _HeadReads
from specframe.contracts.lm_head import OutputHead


def test_the_candidates_of_a_screen_are_all_that_is_read_for_them() -> None:
    head = OutputHead(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)))
    reads = _HeadReads(head)
    with torch.inference_mode(), reads:
        head.candidate_logits(torch.ones(2, 8), torch.tensor([[1, 2, 3], [4, 5, 6]]))
    assert reads.largest == 3


def test_a_product_with_the_whole_head_reads_every_row() -> None:
    head = OutputHead(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)))
    reads = _HeadReads(head)
    with torch.inference_mode(), reads:
        head.logits(torch.ones(2, 8))
    assert reads.largest == 50

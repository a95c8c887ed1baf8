"""The tree's mask and the commit of a path need no kernel: torch does them without a read on the host."""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from specframe.contracts.tree import DraftTree
from specframe.model.kv_cache import TreeCacheLayer


def test_the_attention_mask_of_a_tree_reads_nothing_on_the_host() -> None:
    with FakeTensorMode():  # a read that depends on data raises here
        nodes = torch.empty(61, dtype=torch.int64)
        mask = DraftTree(nodes, nodes, nodes, torch.empty(61)).ancestor_mask()
    assert mask.shape == (61, 61)


def test_committing_a_path_reads_nothing_on_the_host() -> None:
    with FakeTensorMode():
        layer = TreeCacheLayer(capacity=100)
        layer.update(torch.empty(1, 2, 61, 8), torch.empty(1, 2, 61, 8))
        layer.commit(torch.empty(4, dtype=torch.int64), 4)
    assert layer.committed == 4

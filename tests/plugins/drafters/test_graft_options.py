"""Who grafts a path of the context onto trees, how long it is, and what a sweep makes of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from specframe.contracts.kinds import TREE_KINDS, TreeKind
from specframe.errors import UsageError
from specframe.registry.components import BuildContext, Setting
from specframe_plugins.drafters.components import graft
from specframe_plugins.drafters.components.graft import GraftOptions
from specframe_plugins.trees import shape


def context_of(device: str, tree: TreeKind = "top-k") -> BuildContext:
    target: Any = SimpleNamespace(device=torch.device(device))
    return BuildContext(target=target, required_ids=torch.tensor([]), tree=tree)


SAMPLED: tuple[TreeKind, ...] = tuple(kind for kind in TREE_KINDS if kind != "top-k")


def test_by_default_trees_of_the_most_likely_tokens_are_grafted_on_a_cpu_alone() -> None:
    lengths = [GraftOptions().graft_length(context_of(device)) for device in ("cpu", "cuda")]
    assert lengths == [32, 0]


@pytest.mark.parametrize("kind", SAMPLED)
def test_by_default_nothing_is_added_to_sampled_trees(kind: TreeKind) -> None:
    assert GraftOptions().graft_length(context_of("cpu", kind)) == 0


@pytest.mark.parametrize("kind", SAMPLED)
def test_a_path_in_sampled_trees_is_refused(kind: TreeKind) -> None:
    with pytest.raises(UsageError, match="not exact for drawn trees; allowed: 0, or -o"):
        GraftOptions(lookup=4).graft_length(context_of("cpu", kind))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_graft_that_was_asked_for_is_grafted_on_any_device(device: str) -> None:
    assert GraftOptions(graft="suffix").graft_length(context_of(device)) == 32


@pytest.mark.parametrize("kind", SAMPLED)
def test_a_graft_that_was_asked_for_is_refused_beside_sampled_trees(kind: TreeKind) -> None:
    with pytest.raises(UsageError, match="graft=suffix adds tokens that were not drawn"):
        GraftOptions(graft="suffix").graft_length(context_of("cpu", kind))


@pytest.mark.parametrize("sizes", [{"depth": 0}, {"nodes": 1}], ids=str)
def test_who_drafts_nothing_copies_nothing_unless_asked(sizes: dict[str, int]) -> None:
    lengths = [
        GraftOptions(**sizes, **lookup).graft_length(context_of("cpu")) for lookup in ({}, {"lookup": 4})
    ]
    assert lengths == [0, 4]


@pytest.mark.parametrize(("device", "added"), [("cpu", ["lookup=0|8|16"]), ("cuda", [])])
def test_a_sweep_compares_lengths_before_trees_of_a_fixed_size(device: str, added: list[str]) -> None:
    setting = Setting(
        device=torch.device(device),
        dtype=torch.float32,
        vocabulary="full",
        gather="torch",
        drafter="eagle",
        verifier="greedy",
    )
    *following, fixed = shape.sweep(setting)
    assert list(graft.sweep(setting)) == [*following, *added, fixed]

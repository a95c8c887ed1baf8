"""Checking a draft tree reads nothing from the device before the verdict, and changes no sound tree."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from sound_components import SoundDrafter, SoundVerifier
from torch._subclasses.fake_tensor import FakeTensorMode

from specframe.contracts.called.drafter import CalledDrafter
from specframe.contracts.called.verifier import CalledVerifier
from specframe.contracts.faults import ComponentError
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.tree_check import TreeCheck

ROOT_VERDICT = Verdict(path=(0,), accepted_ids=(), next_token=3, path_ends_at_leaf=False)


def tree() -> DraftTree:
    return DraftTree(
        token_ids=torch.tensor([4, 9, 2, 9]),
        parents=torch.tensor([-1, 0, 0, 1]),
        depths=torch.tensor([0, 1, 1, 2]),
        log_probs=torch.tensor([0.0, -1.0, -1.5, -2.0]),
    )


def check() -> TreeCheck:
    drafter, verifier = CalledDrafter.of(SoundDrafter()), CalledVerifier.of(SoundVerifier())
    return TreeCheck(10, 5, torch.device("cpu"), drafter, verifier)


def test_a_sound_tree_passes_unchanged() -> None:
    given, checked = tree(), check()
    admitted = checked.admit(given, 4)
    checked.confirm(ROOT_VERDICT)
    for name in ("token_ids", "parents", "depths", "log_probs"):
        assert torch.equal(getattr(admitted, name), getattr(given, name))


def test_a_tree_is_checked_without_a_read() -> None:
    # Fake tensors have no values: whatever reads one raises.
    with FakeTensorMode():
        assert len(check().admit(tree(), 4)) == 4


def test_a_broken_tree_is_harmless_until_it_is_named() -> None:
    broken, checked = tree(), check()
    broken.token_ids[2], broken.parents[3], broken.depths[1] = 77, -9, 2**40
    admitted = checked.admit(broken, 4)
    assert admitted.token_ids.max() < 10
    assert (admitted.parents < torch.arange(4)).all()
    assert admitted.depths.max() < 4
    assert admitted.ancestor_mask().diagonal().all()
    with pytest.raises(ComponentError, match="node 1 has depth 1099511627776; allowed: 1, one below"):
        checked.confirm(ROOT_VERDICT)


def test_a_sound_tree_after_a_broken_one_passes() -> None:
    broken, checked = tree(), check()
    broken.parents[3] = 5
    checked.admit(broken, 4)
    checked.admit(tree(), 4)
    checked.confirm(ROOT_VERDICT)


def padded(parent: int, token: int, depth: int) -> DraftTree:
    return DraftTree(
        token_ids=torch.tensor([4, 9, token]),
        parents=torch.tensor([-1, 0, parent]),
        depths=torch.tensor([0, 1, depth]),
        log_probs=torch.tensor([0.0, -1.0, 0.0]),
    )


def test_copies_of_the_root_may_pad_a_tree() -> None:
    checked = check()
    admitted = checked.admit(padded(-1, 4, 0), 4)
    checked.confirm(ROOT_VERDICT)
    assert admitted.ancestor_mask()[2].tolist() == [False, False, True]


@pytest.mark.parametrize(("token", "depth"), [(9, 0), (4, 1)])
def test_a_node_without_a_parent_that_is_no_copy_of_the_root_is_refused(token: int, depth: int) -> None:
    checked = check()
    checked.admit(padded(-1, token, depth), 4)
    with pytest.raises(ComponentError, match="node 2 has the parent -1"):
        checked.confirm(ROOT_VERDICT)


@pytest.mark.parametrize(
    ("path", "accepted", "next_token", "complaint"),
    [
        ((), (), 3, "accepted the path \\(\\); allowed: from the root"),
        ((1,), (), 3, "accepted the path"),
        ((0, 4), (9,), 3, "accepted the path"),
        ((0, 2, 1), (2, 9), 3, "accepted the path"),
        ((0, 2, 3), (2, 9), 3, "node 3 is a child of 1; allowed: from each node to one of its children"),
        ((0, 3), (9,), 3, "node 3 is a child of 1"),
        ((0, 1, 3), (9, 2), 3, r"accepted the ids \(9, 2\) .* allowed: those of its nodes, \(9, 9\)"),
        ((0, 1), (), 3, r"accepted the ids \(\)"),
        ((0,), (9,), 3, r"accepted the ids \(9,\)"),
        ((0,), (), 10, "emitted token 10; allowed: 0 to 9"),
        ((0,), (), -1, "emitted token -1"),
        ((0,), (), 10**6, "emitted token 1000000"),
        ((0,), (), 3.0, "a verdict with a float; allowed: nodes and token ids of type int"),
        ((0, True), (9,), 3, "a verdict with a bool"),
    ],
)
def test_a_verdict_that_does_not_follow_from_the_tree_is_refused(
    path: tuple[int, ...], accepted: tuple[int, ...], next_token: int, complaint: str
) -> None:
    checked = check()
    checked.admit(tree(), 4)
    with pytest.raises(ComponentError, match=complaint):
        checked.confirm(Verdict(path, accepted, next_token, path_ends_at_leaf=False))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"path": None}, "a NoneType as its path; allowed: tuple"),
        ({"path": [0]}, "a list as its path; allowed: tuple"),
        ({"path": 0}, "an? int as its path"),
        ({"path": torch.tensor(0)}, "a Tensor as its path"),
        ({"path": (node for node in (0,))}, "a generator as its path"),
        ({"path": {0: 1}}, "a dict as its path"),
        ({"accepted_ids": None}, "a NoneType as its accepted_ids; allowed: tuple"),
        ({"accepted_ids": []}, "a list as its accepted_ids"),
        ({"path_ends_at_leaf": None}, "a NoneType as its path_ends_at_leaf; allowed: bool"),
        ({"path_ends_at_leaf": torch.tensor([True, False])}, "a Tensor as its path_ends_at_leaf"),
        ({"path_ends_at_leaf": True}, r"path_ends_at_leaf True of the path \(0,\); allowed: whether"),
        ({"path": (0, 1, 3), "accepted_ids": (9, 9)}, "path_ends_at_leaf False of the path"),
    ],
)
def test_a_verdict_with_a_part_of_another_kind_is_refused(changes: dict[str, Any], complaint: str) -> None:
    checked = check()
    checked.admit(tree(), 4)
    with pytest.raises(ComponentError, match=complaint):
        checked.confirm(attrs.evolve(ROOT_VERDICT, **changes))


def test_a_verdict_on_a_whole_path_passes() -> None:
    checked = check()
    checked.admit(tree(), 4)
    checked.confirm(Verdict((0, 1, 3), (9, 9), 3, path_ends_at_leaf=True))


@pytest.mark.parametrize(
    ("sources", "complaint"),
    [
        ([None] * 4, "its sources are a list; allowed: a tuple of a name or None for each node"),
        ((None, "lookup"), "its sources have 2 entries for 4 nodes"),
        ((None, 7, None, None), "one of its sources is 7; allowed: a name, or None for the drafter itself"),
        ((None, "", None, None), "one of its sources is ''"),
    ],
)
def test_sources_that_name_no_node_are_refused(sources: Any, complaint: str) -> None:
    with pytest.raises(ComponentError, match=complaint):
        check().admit(attrs.evolve(tree(), sources=sources), 4)


def test_sources_of_a_sound_tree_pass() -> None:
    named = (None, "lookup", None, "suffix")
    assert check().admit(attrs.evolve(tree(), sources=named), 4).sources == named

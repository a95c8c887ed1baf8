from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree, Verdict
from specframe.errors import SpecframeError
from specframe.testing import check_verifier
from specframe_plugins.verifiers.greedy import GreedyVerifier

VOCAB_SIZE = 5


def make_tree(tokens: list[int], parents: list[int]) -> DraftTree:
    depths: list[int] = []
    for parent in parents:
        depths.append(0 if parent < 0 else depths[parent] + 1)
    return DraftTree(
        torch.tensor(tokens), torch.tensor(parents), torch.tensor(depths), torch.zeros(len(tokens))
    )


def certain_of(chosen: list[int]) -> torch.Tensor:
    """Return logits [N, V] whose argmax after each node is ``chosen`` [N]."""
    return torch.nn.functional.one_hot(torch.tensor(chosen), VOCAB_SIZE).float()


def verify(tree: DraftTree, logits: torch.Tensor) -> Verdict:
    return GreedyVerifier().verify(tree, TargetLogits(logits, tree), None)


@st.composite
def trees_with_logits(draw: st.DrawFn) -> tuple[DraftTree, torch.Tensor]:
    size = draw(st.integers(1, 12))
    token = st.integers(0, VOCAB_SIZE - 1)
    tokens = draw(st.lists(token, min_size=size, max_size=size))
    parents = [-1] + [draw(st.integers(0, node - 1)) for node in range(1, size)]
    # Few distinct values, so that ties are common.
    logits = draw(
        st.lists(
            st.lists(st.integers(0, 2), min_size=VOCAB_SIZE, max_size=VOCAB_SIZE),
            min_size=size,
            max_size=size,
        )
    )
    return make_tree(tokens, parents), torch.tensor(logits).float()


@given(trees_with_logits())
def test_it_emits_what_decoding_one_token_at_a_time_emits(case: tuple[DraftTree, torch.Tensor]) -> None:
    tree, logits = case
    node, emitted = 0, []
    while True:
        token = int(logits[node].argmax())
        emitted.append(token)
        children = ((tree.parents == node) & (tree.token_ids == token)).nonzero().flatten()
        if len(children) == 0:
            break
        node = int(children[0])
    assert verify(tree, logits).emitted_ids == tuple(emitted)


def test_it_keeps_the_promises_of_its_protocol() -> None:
    check_verifier(GreedyVerifier())


def test_the_accepted_path_may_leave_the_first_child() -> None:
    tree = make_tree([0, 1, 2, 3, 4], [-1, 0, 0, 1, 2])
    verdict = verify(tree, certain_of([2, 0, 4, 0, 1]))
    assert verdict == Verdict(path=(0, 2, 4), accepted_ids=(2, 4), next_token=1, path_ends_at_leaf=True)


def test_a_right_token_under_a_wrong_parent_is_not_accepted() -> None:
    tree = make_tree([0, 1, 3], [-1, 0, 1])
    assert verify(tree, certain_of([3, 3, 3])).path == (0,)


def test_a_rejection_above_a_leaf_is_not_a_bonus_token() -> None:
    tree = make_tree([0, 1, 2], [-1, 0, 1])
    verdict = verify(tree, certain_of([1, 4, 0]))
    assert (verdict.path, verdict.next_token, verdict.path_ends_at_leaf) == ((0, 1), 4, False)


def test_of_equal_logits_the_first_wins() -> None:
    assert verify(make_tree([0], [-1]), torch.tensor([[1.0, 3.0, 3.0, 0.0, 3.0]])).next_token == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_logits_give_the_token_of_their_float32_values(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    rows = torch.randn(32, 1, 4096).to(dtype)
    chosen = [verify(DraftTree.root_only(0), row).next_token for row in rows]
    assert chosen == rows[:, 0].float().argmax(dim=-1).tolist()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_logits_that_are_not_finite_are_an_error_that_names_the_token(bad: float) -> None:
    logits = certain_of([1, 1])
    logits[1, 3] = bad
    with pytest.raises(SpecframeError, match="NaN or infinite after token 1"):
        verify(make_tree([0, 1], [-1, 0]), logits)


def test_logits_that_are_not_finite_off_the_path_do_not_matter() -> None:
    logits = certain_of([1, 1])
    logits[1] = torch.nan
    assert verify(make_tree([0, 2], [-1, 0]), logits).next_token == 1


def test_tokens_the_target_rules_out_are_no_error() -> None:
    logits = certain_of([1])
    logits[0, 3:] = -torch.inf
    assert verify(make_tree([0], [-1]), logits).next_token == 1


def test_it_reads_from_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    for name in ("item", "tolist", "__int__", "__bool__", "__index__", "cpu", "numpy"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor,
            name,
            lambda self, *args, _name=name, _original=original: (
                reads.append(_name),
                _original(self, *args),
            )[1],
        )
    verify(make_tree([0, 1, 2, 3], [-1, 0, 1, 2]), certain_of([1, 2, 3, 4]))
    assert reads == ["tolist"]

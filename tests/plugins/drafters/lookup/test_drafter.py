"""Paths that the context has said before: alone where they are likely, else beside another drafter's tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_engines import PROMPT, eagle, endless_target
from torch import Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.protocols import Drafter
from specframe.contracts.tree import DraftTree, Verdict
from specframe.model.target import Target
from specframe.registry.components import BuildContext
from specframe.testing import ReferenceGather, check_drafter
from specframe_plugins.drafters.components.graft import GraftOptions
from specframe_plugins.drafters.components.lookup import COMPONENT, LookupOptions
from specframe_plugins.drafters.graft import grafted
from specframe_plugins.drafters.lookup.source import LookupSource
from specframe_plugins.sources.drafter import SourceDrafter

LENGTH = 6
# Nothing that ends in this token was said before.
UNHEARD = 90
TWICE = [*PROMPT, *PROMPT]


@pytest.fixture(scope="module")
def target() -> Target:
    return endless_target()


def alone(target: Target, length: int = LENGTH) -> SourceDrafter:
    context = BuildContext(target=target, required_ids=target.required_ids)
    drafter = COMPONENT.factory(LookupOptions(length=length), context)
    assert isinstance(drafter, SourceDrafter)
    return drafter


def over_eagle(target: Target, length: int = LENGTH) -> SourceDrafter:
    return SourceDrafter([LookupSource(length)], length, eagle(target))


def all_active(ids: tuple[int, ...]) -> Tensor:
    return torch.ones(len(ids), dtype=torch.bool)


class Request:
    """One request; the features of a position depend on the position alone."""

    def __init__(
        self,
        drafter: Any,
        prompt: list[int],
        are_active: Callable[[tuple[int, ...]], Tensor] | None = all_active,
    ) -> None:
        self.drafter, self.clock, self.gather = drafter, PhaseClock(), ReferenceGather()
        self.features = torch.randn(300, 64, generator=torch.Generator().manual_seed(3))
        if drafter.output_head is not None:
            self.gather.bind(drafter.output_head, None)
        self.clock.start()
        if are_active is not None and isinstance(drafter, SourceDrafter):
            drafter.propose_among(are_active)
        drafter.start(torch.tensor(prompt), self.features[: len(prompt)])
        self.read, self.length = len(prompt) - 1, len(prompt)

    def draft(self, root: int) -> DraftTree:
        """Draft a tree from a root; the tokens accepted before it have their features too."""
        features, self.read = self.features[self.read : self.length], self.length
        self.length += 1
        tree: DraftTree = self.drafter.draft(root, features, self.gather, self.clock)
        return tree

    def accept(self, *token_ids: int) -> None:
        """Accept tokens, whichever nodes of the tree they were."""
        path = tuple(range(len(token_ids) + 1))
        self.drafter.commit(Verdict(path, token_ids, 0, path_ends_at_leaf=False))
        self.length += len(token_ids)

    def emit(self, *roots: int) -> None:
        """Draft from each root in vain."""
        for root in roots:
            self.draft(root)
            self.accept()


def chain(tree: DraftTree) -> list[int]:
    """Return the tokens below the root of a tree that is one path."""
    assert tree.parents.tolist() == list(range(-1, len(tree) - 1))
    return tree.token_ids.tolist()[1:]


def paths(tree: DraftTree) -> set[tuple[int, ...]]:
    found: list[tuple[int, ...]] = [()]
    for token, parent in zip(tree.token_ids.tolist()[1:], tree.parents.tolist()[1:], strict=True):
        found.append((*found[parent], token))
    return set(found)


def test_it_proposes_what_followed_the_last_time(target: Target) -> None:
    assert chain(Request(alone(target), TWICE).draft(PROMPT[0])) == PROMPT[1 : 1 + LENGTH]


def test_the_root_is_part_of_the_text(target: Target) -> None:
    assert chain(Request(alone(target), TWICE).draft(UNHEARD)) == []


def test_accepted_tokens_are_part_of_the_text(target: Target) -> None:
    request = Request(alone(target), TWICE)
    request.draft(PROMPT[0])
    request.accept(*PROMPT[1:4])
    assert chain(request.draft(PROMPT[4])) == [*PROMPT[5:], *PROMPT][:LENGTH]


def test_tokens_emitted_without_a_draft_are_part_of_the_text(target: Target) -> None:
    request = Request(alone(target), PROMPT)
    request.drafter.skip(torch.tensor([UNHEARD, *PROMPT]), request.features[10 : 11 + len(PROMPT)])
    assert chain(request.draft(UNHEARD))[:2] == PROMPT[:2]


@pytest.mark.parametrize("inactive", range(4))
def test_nothing_is_proposed_from_the_first_inactive_token_on(target: Target, inactive: int) -> None:
    missing = PROMPT[1 + inactive]

    def are_active(ids: tuple[int, ...]) -> Tensor:
        return torch.tensor([token_id != missing for token_id in ids])

    assert chain(Request(alone(target), TWICE, are_active).draft(PROMPT[0])) == PROMPT[1 : 1 + inactive]


def test_nothing_is_proposed_before_it_is_known_what_is_active(target: Target) -> None:
    assert len(Request(alone(target), TWICE, None).draft(PROMPT[0])) == 1


def test_beside_an_eagle_head_nothing_is_copied_before_it_is_known_what_is_active(target: Target) -> None:
    request, plain = Request(over_eagle(target), TWICE, None), Request(eagle(target), TWICE)
    assert paths(request.draft(PROMPT[0])) == paths(plain.draft(PROMPT[0]))


def test_a_likely_path_is_drafted_without_the_other_drafter(target: Target) -> None:
    assert chain(Request(over_eagle(target), TWICE).draft(PROMPT[0])) == PROMPT[1 : 1 + LENGTH]


# After 3 and 4 it went on otherwise than it had before.
MISSED, AFTER_A_MISS = [50, 3, 4, 10, 51, 3], (4, 11, 52, 3)


def test_a_path_that_came_to_nothing_is_drafted_beside_the_other_drafters_tree(target: Target) -> None:
    request, plain = Request(over_eagle(target), MISSED), Request(eagle(target), MISSED)
    for one in (request, plain):
        one.emit(*AFTER_A_MISS)
    tree, without = request.draft(4), plain.draft(4)
    path = (11, 52, 3, 4, 11, 52)
    assert len(without) > 1
    assert paths(tree) == paths(without) | {path[:length] for length in range(1 + LENGTH)}


def test_a_path_that_hardly_ever_follows_is_left_out(target: Target) -> None:
    request, sizes = Request(alone(target), [3, 4, 5]), []
    for other in range(10, 60):
        request.emit(3)
        sizes.append(len(request.draft(4)))
        request.accept()
        request.emit(other)
    assert sizes[0] > 1
    assert sizes[-1] == 1


def test_a_path_alone_takes_no_time_of_the_head_but_says_so(target: Target) -> None:
    request = Request(over_eagle(target), TWICE)
    request.draft(PROMPT[0])
    seconds = request.clock.seconds
    assert seconds["draft_head"] < seconds["draft_backbone"], "costs take the backbone for the head"


def test_a_path_is_as_likely_as_paths_after_matches_of_its_length_were(target: Target) -> None:
    request = Request(alone(target), [*range(60, 70), *MISSED])
    request.emit(*AFTER_A_MISS, *range(60, 66))
    # Two of three from the start, and three hits after four to six equal tokens.
    assert float(request.draft(66).log_probs[1].exp()) == pytest.approx(5 / 6)


@pytest.mark.parametrize("accepted", [0, 3, LENGTH])
@torch.inference_mode()
def test_after_paths_alone_the_other_drafter_drafts_as_if_it_had_always_been_asked(
    target: Target, accepted: int
) -> None:
    request, plain = Request(over_eagle(target), TWICE), Request(eagle(target), TWICE)
    cycle = PROMPT * 3
    for root in (0, accepted + 1):
        assert chain(request.draft(cycle[root])) == cycle[root + 1 : root + 1 + LENGTH]
        plain.draft(cycle[root])
        for one in (request, plain):
            one.accept(*cycle[root + 1 : root + 1 + accepted])
    tree, expected = request.draft(UNHEARD), plain.draft(UNHEARD)
    assert torch.equal(tree.token_ids, expected.token_ids)
    assert torch.equal(tree.parents, expected.parents)
    torch.testing.assert_close(tree.log_probs, expected.log_probs)


def test_a_request_sees_no_text_of_the_one_before(target: Target) -> None:
    drafter = alone(target)
    Request(drafter, TWICE).emit(*PROMPT)
    assert len(Request(drafter, [UNHEARD, *PROMPT[:2]]).draft(PROMPT[2])) == 1


def test_a_request_learns_nothing_of_how_the_one_before_went(target: Target) -> None:
    drafter = alone(target)
    Request(drafter, MISSED).emit(*AFTER_A_MISS)
    fresh, again = (Request(one, MISSED).draft(4) for one in (alone(target), drafter))
    assert torch.equal(again.log_probs, fresh.log_probs)


def test_a_request_forgets_the_tokens_accepted_last_in_the_one_before(target: Target) -> None:
    drafter = alone(target)
    request = Request(drafter, TWICE)
    request.draft(PROMPT[0])
    request.accept(*PROMPT[1:4])
    assert chain(Request(drafter, TWICE).draft(PROMPT[0])) == PROMPT[1 : 1 + LENGTH]


def test_a_turn_that_goes_on_copies_from_all_of_its_prompt(target: Target) -> None:
    request = Request(over_eagle(target), PROMPT)
    request.emit(UNHEARD)
    prompt = [*PROMPT, UNHEARD, *PROMPT]
    request.drafter.resume(torch.tensor(prompt), request.features[5 : len(prompt)], 5)
    request.read, request.length = len(prompt) - 1, len(prompt)
    assert chain(request.draft(UNHEARD)) == [*PROMPT, UNHEARD][:LENGTH]


def test_a_length_of_0_leaves_a_drafter_as_it_is(target: Target) -> None:
    drafter, context = eagle(target), BuildContext(target=target, required_ids=target.required_ids)
    assert grafted(drafter, GraftOptions(lookup=0), context) is drafter


@pytest.mark.parametrize("make", [alone, over_eagle])
@pytest.mark.parametrize("length", [1, 32])
def test_it_keeps_its_promises(target: Target, make: Callable[..., Drafter], length: int) -> None:
    check_drafter(make(target, length), target.hidden_size)


class IgnoresWhatIsActive(SourceDrafter):
    def propose_among(self, are_active: Callable[[tuple[int, ...]], Tensor]) -> None:
        super().propose_among(all_active)


class ForgetsToSkip(SourceDrafter):
    def skip(self, token_ids: Tensor, features: Tensor) -> None:
        assert self._inner is not None
        self._inner.skip(token_ids, features)


class ForgetsTheBeginning(SourceDrafter):
    def resume(self, prompt_ids: Tensor, features: Tensor, kept: int) -> None:
        assert self._inner is not None
        self._inner.resume(prompt_ids, features, kept)
        self._begin(prompt_ids[kept:].tolist())


class DraftsOneTooMany(SourceDrafter):
    def __init__(self, sources: Any, nodes: int, inner: Drafter) -> None:
        super().__init__(sources, nodes, inner)
        self.max_nodes = 2


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (IgnoresWhatIsActive, "which is not active"),
        (ForgetsToSkip, r"after skip\(\) it drafts another tree"),
        (ForgetsTheBeginning, r"after resume\(\) with 9 kept positions it drafts another tree"),
        (DraftsOneTooMany, "max_nodes is"),
    ],
)
def test_a_copying_drafter_that_breaks_a_promise_is_caught(
    target: Target, broken: type[SourceDrafter], reason: str
) -> None:
    with pytest.raises(AssertionError, match=reason):
        check_drafter(broken([LookupSource(LENGTH)], LENGTH, eagle(target)), target.hidden_size)

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs
import pytest
import torch
from torch import Generator

from specframe.contracts.protocols import Verifier
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree, Verdict
from specframe.errors import UsageError
from specframe.registry.components import Component
from specframe.registry.hookspecs import hookimpl
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe.testing import BrokenPromise, build_component, check_lossless, tiny_target
from specframe_plugins.verifiers.greedy import GreedyVerifier


class TakesTheSecondBest(Verifier):
    """Emits the second choice after a path that ends early, now and then."""

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        verdict = GreedyVerifier().verify(tree, target, generator)
        if len(verdict.path) != 1 or len(tree) == 1:
            return verdict
        return attrs.evolve(verdict, next_token=int(target.rows([0])[0].topk(2).indices[1]))


class Plugin:
    def __init__(self, make: Callable[[], Verifier]) -> None:
        self.make = make

    @hookimpl
    def specframe_verifiers(self) -> Iterable[Component]:
        return [Component(name="mine", summary="a verifier", factory=lambda options, context: self.make())]


def test_a_right_component_passes_end_to_end() -> None:
    check_lossless(Plugin(make=GreedyVerifier), verifier="mine", strategy="nanospec")


def test_a_component_that_changes_the_output_is_named_with_the_first_wrong_token() -> None:
    with pytest.raises(BrokenPromise, match=r"after the prompt \[.*\] token \d+ is .*not the target's"):
        check_lossless(Plugin(make=TakesTheSecondBest), verifier="mine", strategy="full")


def test_settings_reach_the_engine() -> None:
    with pytest.raises(UsageError, match="capacity 1 leaves no slot"):
        check_lossless(
            Plugin(make=GreedyVerifier), strategy="nanospec", options={"vocabulary": {"capacity": 1}}
        )


def test_a_tiny_target_is_the_same_every_time_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    one, other = tiny_target(), tiny_target()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.output_head.weight, other.output_head.weight)
    assert one.tokenizer.decode([5, 6]) == "w5 w6"
    assert tiny_target(40, num_hidden_layers=1).vocab_size == 40


@pytest.mark.parametrize("capacity", [9, "9"])
def test_a_component_is_built_as_an_engine_builds_it(capacity: Any) -> None:
    target = tiny_target()
    nanospec = build_registry(create_plugin_manager()).get("vocabulary", "nanospec")
    strategy = build_component(nanospec, target, capacity=capacity)
    assert strategy.capacity == 9
    assert set(target.required_ids.tolist()) <= set(strategy.pinned_ids.tolist())

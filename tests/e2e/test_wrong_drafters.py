"""Drafters of others that ask for what cannot be had, or fail while they learn: one line, and no trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pluggy
import pytest
from tiny_engines import PROMPT, drafting_engine, eagle, nanospec, repetitive_target
from torch import Tensor

from specframe.config import RunConfig
from specframe.contracts.clock import PhaseClock
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.assembly import build_engine
from specframe.engine.engine import Engine
from specframe.errors import SpecframeError
from specframe.model.target import Target
from specframe.registry.components import Component
from specframe.registry.manager import create_plugin_manager

hookimpl = pluggy.HookimplMarker("specframe")
NEW_TOKENS = 12


@pytest.fixture(scope="module")
def target() -> Target:
    return repetitive_target()


class Mine(Drafter):
    """Drafts nothing, and counts the target passes that it has learnt from."""

    max_depth, max_nodes = 1, 3

    def __init__(self) -> None:
        self.learnt, self.learnt_at_start = 0, [0]

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        self.learnt_at_start.append(self.learnt)

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        return DraftTree.root_only(root)

    def commit(self, verdict: Verdict) -> None:
        pass

    def learn(self, verdict: Verdict, tree: DraftTree, top: TopTokens | None) -> None:
        self.learnt += 1

    def forget(self) -> None:
        self.learnt = 0


@attrs.frozen
class NoOptions:
    """Options of the drafter ``mine``: none."""


def engine_of(drafter: Drafter, target: Target, **settings: Any) -> Engine:
    component = Component(
        name="mine",
        summary="a drafter of somebody else",
        options=NoOptions,
        factory=lambda options, context: drafter,
        learns=lambda _: True,
    )

    class Plugin:
        @hookimpl
        def specframe_drafters(self) -> list[Component]:
            return [component]

    manager = create_plugin_manager()
    manager.register(Plugin(), name="my-plugin")
    config = RunConfig(drafter="mine", dtype="float32", costs="off", max_new_tokens=NEW_TOKENS, **settings)
    return build_engine(config, manager=manager, target=target)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("harvest_topk", -1, "0 to 101, the tokens of the target"),
        ("harvest_topk", 102, "0 to 101, the tokens of the target"),
        ("harvest_topk", 2.0, "a whole number"),
        ("prompt_window", -3, "0 or more"),
        ("max_depth", "3", "a whole number"),
        ("max_nodes", 0, "1 or more"),
        ("branching", True, "a whole number"),
        ("feature_layers", (99,), "a tuple of layers, 0 to "),
        ("feature_layers", 1, "a tuple of layers, 0 to "),
    ],
)
def test_what_a_drafter_asks_for_is_checked_before_a_request(
    name: str, value: object, allowed: str, target: Target
) -> None:
    drafter = Mine()
    setattr(drafter, name, value)
    with pytest.raises(SpecframeError, match=r"^drafter 'mine' \(my-plugin\) has the ") as error:
        engine_of(drafter, target)
    assert f"the {name} {value!r}; allowed: {allowed}" in str(error.value)


def test_what_is_no_lm_head_is_named(target: Target) -> None:
    drafter: Any = Mine()
    drafter.output_head = target.embed_tokens
    with pytest.raises(
        SpecframeError, match=r"^drafter 'mine' \(my-plugin\) has a .* as its output_head; allowed: an Out"
    ):
        engine_of(drafter, target)


def failing_once(learn: Callable[..., None], call: int) -> Callable[..., None]:
    calls: list[int] = []

    def fail(verdict: Verdict, tree: DraftTree, top: TopTokens | None) -> None:
        learn(verdict, tree, top)
        calls.append(1)
        if len(calls) == call:
            raise ValueError("half of it is learnt")

    return fail


@pytest.mark.parametrize("warm", ["conversation", "shared"])
@pytest.mark.parametrize("fallback", [False, True])
def test_a_warm_drafter_forgets_what_it_had_half_learnt(warm: str, fallback: bool, target: Target) -> None:
    drafter: Any = Mine()
    drafter.learn = failing_once(drafter.learn, call=3)
    engine, key = engine_of(drafter, target, warm=warm, fallback=fallback), object()
    if fallback:
        assert engine.generate(PROMPT, turn_of=key).fallback == (
            "drafter 'mine' (my-plugin) raised in learn(): ValueError: half of it is learnt"
        )
    else:
        with pytest.raises(SpecframeError, match="half of it is learnt"):
            engine.generate(PROMPT, turn_of=key)
    for _ in range(2):
        engine.generate(PROMPT, turn_of=key)
    *_, after_the_fault, later = drafter.learnt_at_start
    assert after_the_fault == 0
    assert later > 0, "it forgets more than what failed"


def test_what_a_drafter_was_shown_before_the_first_request_is_forgotten(target: Target) -> None:
    drafter = Mine()
    engine = engine_of(drafter, target, warm="shared")
    drafter.learnt = 5  # of the text that costs were measured with
    engine.generate(PROMPT)
    assert drafter.learnt_at_start[-1] == 0


def test_a_request_that_is_given_up_leaves_a_warm_drafter_what_it_learnt(target: Target) -> None:
    drafter = Mine()
    engine = engine_of(drafter, target, warm="shared")
    stream = engine.stream(PROMPT)
    for _ in range(4):
        next(stream)
    stream.close()
    engine.generate(PROMPT)
    assert drafter.learnt_at_start[-1] == 2


@pytest.mark.parametrize("keep", [False, True])
def test_every_turn_shows_a_drafter_the_last_positions_that_it_asked_for(keep: bool, target: Target) -> None:
    drafter: Any = eagle(target)
    drafter.harvest_topk, drafter.prompt_window = 2, 7
    shown: list[tuple[list[int], int]] = []
    drafter.learn_prompt = lambda ids, top: shown.append((ids.tolist(), len(top.ids)))
    engine = drafting_engine(target, drafter=drafter, strategy=nanospec(target, keep_between_turns=keep))
    key, said = object(), [*PROMPT]
    for _ in range(2):
        report = engine.generate(said, 6, turn_of=key)
        assert shown[-1] == (said[-7:], 7)
        said += [*report.token_ids, 50]
    assert report.kept_tokens > 0

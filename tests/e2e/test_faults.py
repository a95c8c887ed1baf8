"""Whatever a component does wrong: an error that names it, no wrong token, and an engine that still works."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import attrs
import pytest
import torch
from tiny_engines import PROMPT, drafting_engine, eagle, endless_target, nanospec
from tiny_models import reference_greedy

from specframe.contracts.report import GenerationReport
from specframe.contracts.sampling import SamplingParams
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.engine import Engine
from specframe.errors import SpecframeError
from specframe.model.target import Prefill, Target, TreePass
from specframe_plugins.drafters.eagle.drafter import EagleDrafter
from specframe_plugins.gathers.torch import TorchGather
from specframe_plugins.verifiers.greedy import GreedyVerifier

NEW_TOKENS = 14
_LABELS = {
    "drafter": "drafter 'eagle'",
    "strategy": "strategy 'nanospec'",
    "gather": "gather backend 'torch'",
    "verifier": "verifier 'auto'",
}
_STEPS = [
    ("drafter", "start"),
    ("drafter", "draft"),
    ("drafter", "commit"),
    ("strategy", "start"),
    ("strategy", "observe"),
    ("gather", "copy_rows"),
    ("gather", "topk"),
]


def calls(steps: list[tuple[str, str]], *numbers: int) -> list[tuple[str, str, int]]:
    """Return which call of which step fails; ``start`` is called once per request."""
    return [(*step, number) for step in steps for number in numbers if step[1] != "start" or number == 1]


class LateBoundGather(TorchGather):
    """An admitter holds on to ``fetch``; this one may be broken later."""

    def fetch(self, slots: torch.Tensor, ids: torch.Tensor) -> None:
        self.copy_rows(slots, ids)

    def copy_rows(self, slots: torch.Tensor, ids: torch.Tensor) -> None:
        super().fetch(slots, ids)


@attrs.frozen
class Bench:
    """An engine and its components."""

    engine: Engine
    components: dict[str, Any]


@pytest.fixture(scope="module")
def target() -> Target:
    return endless_target()


@pytest.fixture(scope="module")
def expected(target: Target) -> list[int]:
    return reference_greedy(target.model, torch.tensor(PROMPT), NEW_TOKENS)


def bench(target: Target, **settings: Any) -> Bench:
    parts: dict[str, Any] = {
        "drafter": eagle(target),
        "strategy": nanospec(target),
        "gather": LateBoundGather(),
        "verifier": GreedyVerifier(),
    }
    return Bench(drafting_engine(target, **parts, **settings), parts)


def misbehave(component: Any, method: str, call: int, act: Callable[[Any], Any]) -> None:
    """From the given call of a method on, hand what it returns to ``act`` and return that instead."""
    right, calls = getattr(component, method), []

    def wrong(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        result = right(*arguments, **options)
        return act(result) if len(calls) >= call else result

    setattr(component, method, MethodType(wrong, component))


def fail(result: Any) -> Any:
    raise ValueError("out of order")


def behave(component: Any, method: str) -> None:
    delattr(component, method)


def generate(engine: Engine, emitted: list[int] | None = None) -> GenerationReport:
    for chunk in engine.stream(PROMPT, NEW_TOKENS):
        if emitted is not None:
            emitted += chunk.token_ids
    assert engine.report is not None
    return engine.report


def statistics(report: GenerationReport) -> list[Any]:
    names = ("token_ids", "text", "target_passes", "active_mean", "coverage", "accept_by_depth", "fallback")
    return [getattr(report, name) for name in names]


def assert_named_and_harmless(
    broken: Bench, component: str, method: str, complaint: str, expected: list[int]
) -> None:
    """The request fails with one line; what it emitted is right; the next request is as ever."""
    untouched = drafting_engine(broken.engine.target)
    emitted: list[int] = []
    with pytest.raises(SpecframeError) as error:
        generate(broken.engine, emitted)
    assert str(error.value).startswith(_LABELS[component])
    assert complaint in str(error.value)
    assert emitted == expected[: len(emitted)]
    behave(broken.components[component], method)
    assert statistics(generate(broken.engine)) == statistics(generate(untouched))


@pytest.mark.parametrize(("component", "method", "call"), calls([*_STEPS, ("verifier", "verify")], 1, 2, 4))
def test_an_exception_inside_a_component_is_named(
    component: str, method: str, call: int, target: Target, expected: list[int]
) -> None:
    broken = bench(target)
    misbehave(broken.components[component], method, call, fail)
    where = "fetch" if method == "copy_rows" else method
    complaint = f"raised in {where}(): ValueError: out of order"
    assert_named_and_harmless(broken, component, method, complaint, expected)


@pytest.mark.parametrize(("component", "method", "call"), calls(_STEPS, 1, 3))
def test_with_fallback_the_rest_is_generated_without_drafting(
    component: str, method: str, call: int, target: Target, expected: list[int]
) -> None:
    broken = bench(target, fallback=True)
    misbehave(broken.components[component], method, call, fail)
    report = generate(broken.engine)
    assert report.token_ids == expected
    where = "fetch" if method == "copy_rows" else method
    assert report.fallback == f"{_LABELS[component]} raised in {where}(): ValueError: out of order"
    behave(broken.components[component], method)
    again = generate(broken.engine)
    assert statistics(again) == statistics(generate(drafting_engine(target)))
    assert again.fallback is None


def changed(name: str, node: int, value: float) -> Callable[[DraftTree], DraftTree]:
    def change(tree: DraftTree) -> DraftTree:
        column = getattr(tree, name).clone()
        column[node] = value
        return attrs.evolve(tree, **{name: column})

    return change


def longer(tree: DraftTree) -> DraftTree:
    columns = (tree.token_ids, tree.parents, tree.depths, tree.log_probs)
    return DraftTree(*(torch.cat([column, column[1:], column[1:]]) for column in columns))


_MALFORMED: dict[str, tuple[Callable[[DraftTree], Any], str]] = {
    "another root": (changed("token_ids", 0, 99), "node 0 is token 99, parent -1; allowed: the root "),
    "a root with a parent": (changed("parents", 0, 0), "parent 0; allowed: the root "),
    "a negative id": (changed("token_ids", 2, -7), "node 2 is token -7; allowed: 0 to 100"),
    "an id beyond the vocabulary": (changed("token_ids", 3, 101), "node 3 is token 101; allowed: 0 to 100"),
    "a parent that comes later": (changed("parents", 1, 4), "node 1 has the parent 4; allowed: 0 to 0"),
    "its own parent": (changed("parents", 3, 3), "node 3 has the parent 3; allowed: 0 to 2"),
    "a second root": (changed("parents", 3, -1), "node 3 has the parent -1; allowed: 0 to 2"),
    "a parent far away": (changed("parents", 3, 2**40), "has the parent 1099511627776"),
    "a wrong depth": (changed("depths", 2, 9), "node 2 has depth 9; allowed: "),
    "a negative depth": (changed("depths", 1, -3), "node 1 has depth -3; allowed: 1"),
    "a log-probability that is NaN": (changed("log_probs", 1, torch.nan), "positive, infinite or NaN"),
    "a positive log-probability": (changed("log_probs", 1, 0.5), "positive, infinite or NaN"),
    "an infinite log-probability": (changed("log_probs", 1, -torch.inf), "positive, infinite or NaN"),
    "too many nodes": (longer, "nodes; allowed: 1 to 8"),
    "no nodes": (lambda tree: DraftTree(*[tree.token_ids[:0]] * 3, tree.log_probs[:0]), "it has 0 nodes"),
    "ids of int32": (lambda t: attrs.evolve(t, token_ids=t.token_ids.int()), "int32; allowed: int64"),
    "parents of float32": (lambda t: attrs.evolve(t, parents=t.parents.float()), "float32; allowed: int64"),
    "probabilities of int64": (lambda t: attrs.evolve(t, log_probs=t.depths), "int64; allowed: float32"),
    "columns of two lengths": (lambda t: attrs.evolve(t, depths=t.depths[:-1]), "depths has "),
    "a matrix": (lambda t: attrs.evolve(t, token_ids=t.token_ids[None]), "token_ids is no tensor [N]"),
    "drawn from nothing known": (
        lambda t: attrs.evolve(t, sampled_from=3),
        "its sampled_from is of type int",
    ),
    "a list": (lambda t: attrs.evolve(t, parents=t.parents.tolist()), "parents is no tensor [N]"),
    "nothing": (lambda t: None, "it is of type NoneType; allowed: DraftTree"),
}


@pytest.mark.parametrize("what", _MALFORMED)
def test_a_malformed_tree_is_named(what: str, target: Target, expected: list[int]) -> None:
    act, complaint = _MALFORMED[what]
    broken = bench(target)
    misbehave(broken.components["drafter"], "draft", 2, act)
    assert_named_and_harmless(broken, "drafter", "draft", complaint, expected)


@pytest.mark.parametrize("what", _MALFORMED)
def test_with_fallback_a_malformed_tree_changes_no_token(
    what: str, target: Target, expected: list[int]
) -> None:
    act, complaint = _MALFORMED[what]
    broken = bench(target, fallback=True)
    misbehave(broken.components["drafter"], "draft", 2, act)
    report = generate(broken.engine)
    assert report.token_ids == expected
    assert report.fallback is not None
    assert complaint in report.fallback


_NO_IDS: dict[str, tuple[Any, str]] = {
    "an id beyond the vocabulary": (torch.tensor([5, 101]), "returned token id 101; allowed: 0 to 100"),
    "a negative id": (torch.tensor([-1]), "returned token id -1; allowed: 0 to 100"),
    "floats": (torch.tensor([5.0]), "returned a tensor of torch.float32"),
    "a mask": (torch.ones(101, dtype=torch.bool), "returned a tensor of torch.bool"),
    "a list": ([5], "returned a list"),
    "nothing": (None, "returned a NoneType"),
}


@pytest.mark.parametrize("method", ["start", "observe"])
@pytest.mark.parametrize("what", _NO_IDS)
def test_what_a_strategy_may_not_return_is_named(
    what: str, method: str, target: Target, expected: list[int]
) -> None:
    ids, complaint = _NO_IDS[what]
    broken = bench(target)
    misbehave(broken.components["strategy"], method, 1, lambda result: ids)
    assert_named_and_harmless(broken, "strategy", method, complaint, expected)


def test_a_strategy_that_never_admits_anything_is_slow_and_right(target: Target, expected: list[int]) -> None:
    idle = bench(target)
    for method in ("start", "observe"):
        misbehave(idle.components["strategy"], method, 1, lambda ids: ids[:0])
    report = generate(idle.engine)
    assert (report.token_ids, report.active_max) == (expected, len(target.required_ids))


def test_a_strategy_with_no_active_token_at_all_drafts_nothing(target: Target, expected: list[int]) -> None:
    strategy = nanospec(target)
    strategy.pinned_ids = strategy.pinned_ids[:0]
    for method in ("start", "observe"):
        misbehave(strategy, method, 1, lambda ids: ids[:0])
    report = generate(drafting_engine(target, strategy=strategy))
    assert (report.token_ids, report.tau, report.active_max) == (expected, 1.0, 0)


@pytest.mark.parametrize(
    "act",
    [
        lambda verdict: attrs.evolve(verdict, path=(1, *verdict.path[1:])),
        lambda verdict: attrs.evolve(
            verdict, path=(*verdict.path, 99), accepted_ids=(5,) * len(verdict.path)
        ),
        lambda verdict: attrs.evolve(verdict, path=(0, 2, 1), accepted_ids=(5, 5)),
        lambda verdict: attrs.evolve(verdict, next_token=101),
        lambda verdict: attrs.evolve(verdict, next_token=-1),
        lambda verdict: attrs.evolve(verdict, accepted_ids=(*verdict.accepted_ids, 5)),
    ],
)
@pytest.mark.parametrize("call", [1, 3], ids=["after the prefill", "after a target pass"])
def test_a_verdict_that_does_not_belong_to_the_tree_is_named(
    act: Callable[[Verdict], Verdict], call: int, target: Target, expected: list[int]
) -> None:
    broken = bench(target, fallback=True)
    misbehave(broken.components["verifier"], "verify", call, act)
    assert_named_and_harmless(broken, "verifier", "verify", "allowed: ", expected)


def test_what_is_no_verdict_is_named(target: Target, expected: list[int]) -> None:
    broken = bench(target)
    misbehave(broken.components["verifier"], "verify", 3, lambda verdict: None)
    assert_named_and_harmless(
        broken, "verifier", "verify", "returned NoneType from verify(); allowed: Verdict", expected
    )


def test_an_exception_in_a_property_of_the_drafter_is_named(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, key = bench(target).engine, object()
    said = engine.generate(PROMPT, 4, turn_of=key).token_ids
    monkeypatch.setattr(EagleDrafter, "remembered", property(fail))
    with pytest.raises(
        SpecframeError, match="drafter 'eagle' raised in its property remembered: ValueError: out of order"
    ):
        engine.generate([*PROMPT, *said, 50], 4, turn_of=key)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("method", ["prefill", "tree_pass"])
def test_logits_that_are_not_finite_are_named(
    method: str, temperature: float, value: float, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    from specframe_plugins.verifiers.sampling import SamplingVerifier

    verifier = SamplingVerifier() if temperature else None
    engine = drafting_engine(
        target, verifier=verifier, sampling=SamplingParams(temperature=temperature), fallback=True
    )
    expected = generate(engine).token_ids
    right, calls = getattr(target, method), []

    def wrong(*arguments: Any, **options: Any) -> Prefill | TreePass:
        calls.append(1)
        result: Prefill | TreePass = right(*arguments, **options)
        if method == "prefill" or len(calls) == 3:
            result.logits[:, 7] = value
        return result

    emitted: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(target, method, wrong)
        with pytest.raises(SpecframeError, match="the target returned logits that are NaN or infinite"):
            generate(engine, emitted)
    assert emitted == expected[: len(emitted)]
    assert generate(engine).token_ids == expected


def test_after_a_fallback_the_next_turn_starts_from_nothing(target: Target) -> None:
    broken, key = bench(target, fallback=True), object()
    misbehave(broken.components["drafter"], "draft", 2, fail)
    first = broken.engine.generate(PROMPT, 8, turn_of=key)
    behave(broken.components["drafter"], "draft")
    said = [*PROMPT, *first.token_ids, 50]
    report = broken.engine.generate(said, 8, turn_of=key)
    assert (report.kept_tokens, report.fallback) == (0, None)
    assert report.token_ids == reference_greedy(target.model, torch.tensor(said), 8)

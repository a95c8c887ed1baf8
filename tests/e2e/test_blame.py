"""Whatever a plugin does wrong, one line says whose it is, in every way that a component can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_engines import PROMPT, eagle, endless_target, nanospec
from tiny_models import reference_greedy

from specframe.config import RunConfig
from specframe.contracts.faults import ComponentError, Owner
from specframe.contracts.kinds import KINDS, Kind
from specframe.contracts.tree import Verdict
from specframe.engine.assembly import build_engine
from specframe.engine.engine import Engine
from specframe.errors import SpecframeError, UsageError
from specframe.model.target import Target
from specframe.registry.components import Component
from specframe.registry.hookspecs import hookimpl
from specframe.registry.manager import create_plugin_manager
from specframe_plugins.gathers.torch import TorchGather
from specframe_plugins.verifiers.greedy import GreedyVerifier

NEW_TOKENS = 8
SOUND: dict[Kind, Callable[[Target], Any]] = {
    "vocabulary": nanospec,
    "gather": lambda target: TorchGather(),
    "drafter": eagle,
    "verifier": lambda target: GreedyVerifier(),
}


@pytest.fixture(scope="module")
def target() -> Target:
    return endless_target()


@pytest.fixture(scope="module")
def expected(target: Target) -> list[int]:
    return reference_greedy(target.model, torch.tensor(PROMPT), NEW_TOKENS)


def broken(made: Any, **members: Any) -> Any:
    """Return a component with other members than its class has."""
    made.__class__ = type("Broken", (type(made),), members)
    return made


def engine_of(target: Target, kind: Kind, *, fallback: bool = False, **functions: Any) -> Engine:
    """Return an engine whose component of one kind is a plugin's; the others are sound."""

    def component(of: Kind, name: str, **own: Any) -> Component:
        make = {"factory": lambda options, context: SOUND[of](target), "trees": ("top-k",)}
        return Component(name=name, summary="a stranger's", **(make | own))

    def plugin(name: str, **own: Any) -> object:
        class Plugin:
            @hookimpl
            def specframe_vocabularies(self) -> list[Component]:
                return of("vocabulary")

            @hookimpl
            def specframe_gather_backends(self) -> list[Component]:
                return of("gather")

            @hookimpl
            def specframe_drafters(self) -> list[Component]:
                return of("drafter")

            @hookimpl
            def specframe_verifiers(self) -> list[Component]:
                return of("verifier")

        def of(one: Kind) -> list[Component]:
            return [component(one, name, **own)] if (one == kind) == (name == "mine") else []

        return Plugin()

    manager = create_plugin_manager(entry_points=False)
    manager.register(plugin("mine", **functions), name="my-plugin (my-dist 2.0)")
    manager.register(plugin("sound"), name="sound")
    names: dict[str, Any] = {
        info.setting: "mine" if info.name == kind else "sound" for info in KINDS.values()
    }
    config = RunConfig(**names, dtype="float32", costs="off", fallback=fallback, max_new_tokens=NEW_TOKENS)
    return build_engine(config, manager=manager, target=target)


def raises(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def returns(answer: Any) -> Callable[..., Any]:
    return lambda *_: answer


def recurses(self: Any, *arguments: Any) -> Any:
    return recurses(self, *arguments)


def yields(self: Any, *_: Any) -> Any:
    yield


def asks(question: Callable[[Any, torch.Tensor], Any]) -> Callable[..., Any]:
    """Return a ``draft`` that asks its LM head something."""

    def draft(self: Any, root: int, features: torch.Tensor, head: Any, clock: Any) -> Any:
        return question(head, features)

    return draft


def answers(change: Callable[[torch.Tensor, torch.Tensor], Any]) -> Callable[..., Any]:
    """Return a ``topk`` that changes what it should answer."""

    def topk(self: TorchGather, hidden: torch.Tensor, k: int) -> Any:
        return change(*TorchGather.topk(self, hidden, k))

    return topk


def whines(self: Any, hidden: torch.Tensor, k: int) -> Any:
    raise ValueError("no rows")


def reworded(self: Any, root: int, features: torch.Tensor, head: Any, clock: Any) -> Any:
    try:
        return head.topk(features, 2)
    except Exception:
        raise RuntimeError("cannot draft") from None


NO = ValueError("no\nway")
IN_ALL: list[tuple[dict[str, Any], str]] = [
    ({"factory": raises(NO)}, "raised in factory(): ValueError: no way"),
    ({"factory": raises(SystemExit(3))}, "raised in factory(): SystemExit: 3"),
    ({"factory": raises(KeyError("size"))}, "raised in factory(): KeyError: 'size'"),
    ({"factory": returns(None)}, "is a NoneType; allowed: a class that inherits {protocol}"),
    ({"factory": lambda options: None}, "takes factory(options); specframe calls factory(options, context)"),
    ({"supports": raises(NO)}, "raised in supports(): ValueError: no way"),
    ({"supports": returns(False)}, "returned False from supports(); allowed: a reason as text, or None"),
    ({"supports": lambda: None}, "takes supports(); specframe calls supports(setting)"),
]
MEMBERS: list[tuple[Kind, dict[str, Any], str]] = [
    # drafters
    (
        "drafter",
        {"draft": lambda self, root, features: None},
        "takes draft(root, features); specframe calls draft(root, features, head, clock)",
    ),
    (
        "drafter",
        {
            "commit": lambda self, path, accepted=3: None,
            "start": lambda self, prompt, features, *, size: None,
        },
        "takes start(prompt, features, *, size); specframe calls start(prompt_ids, features)",
    ),
    ("drafter", {"draft": None}, "has a NoneType as its draft; allowed: a method"),
    ("drafter", {"draft": raises(NO)}, "raised in draft(): ValueError: no way"),
    ("drafter", {"draft": raises(StopIteration())}, "raised in draft(): StopIteration"),
    ("drafter", {"draft": raises(SpecframeError("full"))}, "says in draft(): full"),
    ("drafter", {"draft": raises(UsageError("full"))}, "says in draft(): full"),
    (
        "drafter",
        {"draft": raises(ComponentError(Owner("verifier", "greedy"), "lies"))},
        "raised in draft(): ComponentError: verifier 'greedy' lies",
    ),
    (
        "drafter",
        {"commit": yields},
        "has a generator as its commit(), which runs nothing when it is called; allowed: a method",
    ),
    (
        "drafter",
        {"draft": returns(None)},
        "drafted a malformed tree: it is of type NoneType; allowed: DraftTree",
    ),
    ("drafter", {"commit": raises(NO)}, "raised in commit(): ValueError: no way"),
    ("drafter", {"learn": raises(NO)}, "raised in learn(): ValueError: no way"),
    ("drafter", {"forget": raises(NO)}, "raised in forget(): ValueError: no way"),
    ("drafter", {"finish": raises(NO)}, "raised in finish(): ValueError: no way"),
    ("drafter", {"propose_among": raises(NO)}, "raised in propose_among(): ValueError: no way"),
    ("drafter", {"sample_from": raises(NO)}, "raised in sample_from(): ValueError: no way"),
    (
        "drafter",
        {"output_head": property(raises(NO))},
        "raised in its property output_head: ValueError: no way",
    ),
    (
        "drafter",
        {"output_head": property(raises(AttributeError("gone")))},
        "raised in its property output_head: AttributeError: gone",
    ),
    ("drafter", {"copies_context": 1}, "has the copies_context 1; allowed: True or False"),
    (
        "drafter",
        {"draft": asks(lambda head, features: head.topk(features[0], 2))},
        "asks the LM head about [64] torch.float32 on cpu; allowed: hidden states [N, 64] torch.float32 "
        "on cpu (in draft())",
    ),
    (
        "drafter",
        {"draft": asks(lambda head, features: head.topk(features, 2.0))},
        "asks the LM head for the 2.0 best tokens; allowed: 0 to 101, its rows (in draft())",
    ),
    (
        "drafter",
        {"draft": asks(lambda head, features: head.logits(features.double()))},
        "asks the LM head about [1, 64] torch.float64 on cpu; allowed: hidden states [N, 64] torch.float32 "
        "on cpu (in draft())",
    ),
    # gather backends
    ("gather", {"bind": raises(NO)}, "raised in bind(): ValueError: no way"),
    ("gather", {"fetch": raises(NO)}, "raised in fetch(): ValueError: no way"),
    ("gather", {"topk": whines}, "raised in topk(): ValueError: no rows"),
    (
        "gather",
        {"fetch": lambda self, slots: None},
        "takes fetch(slots); specframe calls fetch(slots, ids)",
    ),
    ("gather", {"topk": returns(None)}, None),
    ("gather", {"capturable": "yes"}, "has the capturable 'yes'; allowed: True or False"),
    (
        "gather",
        {"candidate_topk": None, "scores_candidates": False},
        "has a NoneType as its candidate_topk; allowed: a method",
    ),
    (
        "gather",
        {"topk": answers(lambda log_probs, ids: [log_probs, ids])},
        "returned a list from topk(); allowed: log-probabilities and rows",
    ),
    (
        "gather",
        {"topk": answers(lambda log_probs, ids: (log_probs,))},
        "returned a tuple of 1 from topk(); allowed: log-probabilities and rows",
    ),
    (
        "gather",
        {"topk": answers(lambda log_probs, ids: (log_probs.double(), ids))},
        "returned a tensor [1, 3] torch.float64 on cpu from topk(); allowed: [1, 3] torch.float32 on cpu",
    ),
    (
        "gather",
        {"topk": answers(lambda log_probs, ids: (log_probs, ids.int()))},
        "returned a tensor [1, 3] torch.int32 on cpu from topk(); allowed: [1, 3] torch.int64 on cpu",
    ),
    (
        "gather",
        {"topk": answers(lambda log_probs, ids: (log_probs, ids[:, :1]))},
        "returned a tensor [1, 1] torch.int64 on cpu from topk(); allowed: [1, 3] torch.int64 on cpu",
    ),
    (
        "gather",
        {"topk": answers(lambda log_probs, ids: (log_probs.to("meta"), ids))},
        "returned a tensor [1, 3] torch.float32 on meta from topk(); allowed: [1, 3] torch.float32 on cpu",
    ),
    (
        "gather",
        {"topk": answers(lambda log_probs, ids: (log_probs, ids + 500))},
        None,
    ),
    (
        "gather",
        {"admitter": returns(object())},
        "returned a object without admitted from admitter(); allowed: an Admitter, or None",
    ),
    # strategies
    ("vocabulary", {"start": raises(NO)}, "raised in start(): ValueError: no way"),
    ("vocabulary", {"observe": recurses}, None),
    (
        "vocabulary",
        {"observe": lambda self, verdict, tree: None},
        "takes observe(verdict, tree); specframe calls observe(verdict, tree, target_topk_ids)",
    ),
    (
        "vocabulary",
        {"observe": yields},
        "has a generator as its observe(), which runs nothing when it is called; allowed: a method",
    ),
    (
        "vocabulary",
        {"observe": returns([1, 2])},
        "returned a list from observe(); allowed: a tensor of token ids [n] int64",
    ),
    (
        "vocabulary",
        {"observe": returns(torch.zeros(2, 2, dtype=torch.int64))},
        "returned a tensor [2, 2] from observe(); allowed: a tensor of token ids [n] int64",
    ),
    (
        "vocabulary",
        {"start": returns(torch.zeros(2, dtype=torch.int64, device="meta"))},
        "returned a tensor without values, torch.strided on meta from start(); allowed: a tensor of token "
        "ids [n] int64",
    ),
    (
        "vocabulary",
        {"observe": returns(torch.tensor([101]))},
        "returned token id 101; allowed: 0 to 100",
    ),
    (
        "vocabulary",
        {"capacity": property(returns(40.0), returns(None))},
        "has the capacity 40.0; allowed: a whole number, 0 or more, or None",
    ),
    (
        "vocabulary",
        {"capacity": property(raises(NO), returns(None))},
        "raised in its property capacity: ValueError: no way",
    ),
    (
        "vocabulary",
        {"pinned_ids": property(returns([1]), returns(None))},
        "has a list as its pinned_ids; allowed: a tensor of token ids [n] int64",
    ),
    (
        "vocabulary",
        {"pinned_ids": property(returns(torch.tensor([500])), returns(None))},
        "pins token id 500; allowed: 0 to 100",
    ),
    ("vocabulary", {"screen": 3}, "has a screen that is a int; allowed: a class that inherits Screen"),
    (
        "vocabulary",
        {"eviction": property(returns("random"), returns(None))},
        "has the eviction 'random'; allowed: fifo, lru",
    ),
    # verifiers
    ("verifier", {"verify": raises(NO)}, "raised in verify(): ValueError: no way"),
    ("verifier", {"verify": returns(None)}, "returned NoneType from verify(); allowed: Verdict"),
    (
        "verifier",
        {"verify": lambda self, tree, logits: None},
        "takes verify(tree, logits); specframe calls verify(tree, target, generator)",
    ),
    (
        "verifier",
        {"verify": returns(Verdict((0,), (), 3.0, path_ends_at_leaf=True))},  # type: ignore[arg-type]  # on purpose
        "returned a verdict with a float; allowed: nodes and token ids of type int",
    ),
]


def label(kind: Kind) -> str:
    return f"{KINDS[kind].label} 'mine' (my-dist 2.0)"


def assert_blamed(run: Callable[..., Engine], kind: Kind, line: str | None, expected: list[int]) -> None:
    """One line names the component; with a fallback the text is right where the component only drafts."""
    with pytest.raises(SpecframeError) as error:
        run().generate(PROMPT)
    said = str(error.value)
    assert said.startswith(f"{label(kind)} ")
    assert "\n" not in said
    if line is not None:
        assert said == f"{label(kind)} {line}"
    if kind == "verifier":
        with pytest.raises(SpecframeError):
            run(fallback=True).generate(PROMPT)
        return
    report = run(fallback=True).generate(PROMPT)
    assert report.fallback == said
    assert report.token_ids == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", range(len(IN_ALL)))
def test_what_a_component_is_registered_with_is_named(
    at: int, kind: Kind, target: Target, expected: list[int]
) -> None:
    functions, line = IN_ALL[at]
    line = line.format(protocol=KINDS[kind].protocol)
    assert_blamed(lambda **more: engine_of(target, kind, **functions, **more), kind, line, expected)


@pytest.mark.parametrize(
    "at", range(len(MEMBERS)), ids=[f"{k} {' '.join(m)} {i}" for i, (k, m, _) in enumerate(MEMBERS)]
)
def test_what_a_component_does_is_named(at: int, target: Target, expected: list[int]) -> None:
    kind, members, line = MEMBERS[at]

    def run(**more: Any) -> Engine:
        def factory(options: Any, context: Any) -> Any:
            return broken(SOUND[kind](target), **members)

        return engine_of(target, kind, factory=factory, **more)

    assert_blamed(run, kind, line, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_factory_tells_the_user_keeps_its_class_and_says_whose_it_is(
    kind: Kind, target: Target
) -> None:
    with pytest.raises(UsageError) as error:
        engine_of(target, kind, factory=raises(UsageError("size 3; allowed: 4")))
    assert str(error.value) == f"{label(kind)}: size 3; allowed: 4"


def test_what_a_backend_tells_the_user_when_it_is_bound_keeps_its_class(target: Target) -> None:
    made = broken(TorchGather(), bind=raises(UsageError("width 9; allowed: 8")))
    with pytest.raises(UsageError) as error:
        engine_of(target, "gather", factory=returns(made))
    assert str(error.value) == f"{label('gather')}: width 9; allowed: 8"

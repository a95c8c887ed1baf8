"""The target drafts for itself, as its layers without some parts say, and never changes its own text."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from architectures import ARCHITECTURES
from own_distribution import own_distribution
from paper_machines import SLOPED, paper_costs
from tiny_engines import PROMPT, endless_target
from tiny_models import MODEL_TYPES, VOCAB_SIZE, reference_greedy, tiny_model, tiny_tokenizer
from torch import Tensor

from specframe.config import RunConfig
from specframe.contracts.clock import PhaseClock
from specframe.contracts.kinds import TREE_KINDS, TreeKind
from specframe.contracts.sampled_tree import SampledShape
from specframe.contracts.sampling import SamplingParams
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.assembly import build_engine
from specframe.engine.engine import Engine
from specframe.engine.known_costs import KnownCosts
from specframe.errors import UsageError
from specframe.model.borrowed import has_hooks
from specframe.model.forward import LeftOut
from specframe.model.loading import LoadedModel
from specframe.model.target import Target
from specframe.testing import ReferenceGather, check_drafter
from specframe.testing.exact_sampling import fit_to
from specframe_plugins.drafters.components.swift import SwiftOptions
from specframe_plugins.drafters.swift.drafter import SwiftDrafter
from specframe_plugins.trees.shape import TreeSampling, TreeShape

SHAPE = TreeShape(depth=4, branching=3, nodes=12)
OPTIONS = SwiftOptions(skip=0.5, every=4, window=4)
DRAWN: tuple[TreeKind, ...] = tuple(kind for kind in TREE_KINDS if kind != "top-k")


def swift_target(model_type: str = "llama", forward: Any = "auto", **overrides: Any) -> Target:
    """Return a target of four layers, so that two of them may do without their parts."""
    if model_type == "gemma3":
        kinds = ["sliding_attention", "full_attention"] * 2
        overrides = {"layer_types": kinds, **overrides}
    model = tiny_model(model_type, num_hidden_layers=4, **overrides).requires_grad_(False)
    model.generation_config.eos_token_id = None
    target = Target(LoadedModel(model, tiny_tokenizer(), "tiny"), forward)
    target.stop_ids = frozenset()
    return target


class Request:
    """One request, read by the target, and what its layers without some parts say about any path."""

    def __init__(self, target: Target, drafter: SwiftDrafter, prompt: list[int] = PROMPT) -> None:
        self.target, self.drafter = target, drafter
        self.gather = ReferenceGather()
        self.gather.bind(target.output_head, None)
        self.clock = PhaseClock()
        self.clock.start()
        target.begin(len(prompt))
        prefill = target.prefill(torch.tensor(prompt))
        drafter.start(torch.tensor(prompt), prefill.features)

    def draft(self, root: int) -> DraftTree:
        return self.drafter.draft(root, torch.empty(1, 0), self.gather, self.clock)

    def accept(self, tree: DraftTree, leaf: int) -> None:
        path = [leaf]
        while path[0]:
            path.insert(0, int(tree.parents[path[0]]))
        self.target.begin(self.target.forward.committed + len(tree), self.target.forward.committed)
        self.target.tree_pass(tree)
        self.target.commit(tuple(path))
        accepted = tuple(tree.token_ids[path[1:]].tolist())
        self.drafter.commit(Verdict(tuple(path), accepted, 0, path_ends_at_leaf=False))

    def log_probs_after(self, path: list[int]) -> Tensor:
        """Return what the layers say after the committed positions and a path [V], read as one chain."""
        forward: Any = self.target.forward
        n, committed = len(path), forward.committed
        chain = torch.arange(committed, committed + n), torch.ones(n, n, dtype=torch.bool).tril()
        hidden = forward.run_partly(torch.tensor(path), *chain, self.drafter.left_out)
        return self.target.output_head.logits(hidden[-1:]).float().log_softmax(-1)[0]

    def assert_follows_the_layers(self, tree: DraftTree) -> None:
        tokens, parents = tree.token_ids.tolist(), tree.parents.tolist()
        paths = [tokens[:1]]
        for node in range(1, len(tree)):
            expected = self.log_probs_after(paths[parents[node]])[tokens[node]]
            torch.testing.assert_close(tree.log_probs[node], expected, rtol=1e-3, atol=1e-3)
            paths.append([*paths[parents[node]], tokens[node]])
        assert max(map(len, paths)) > 2
        assert self.drafter.left_out != LeftOut()


@pytest.mark.parametrize("forward", ["lean", "transformers"])
@pytest.mark.parametrize("model_type", ["llama", "gemma3"])
@torch.inference_mode()
def test_every_node_has_the_log_probability_that_the_layers_give_its_path(
    model_type: str, forward: str
) -> None:
    target = swift_target(model_type, forward)
    request = Request(target, SwiftDrafter(target, OPTIONS, SHAPE))
    tree = request.draft(root=50)
    request.assert_follows_the_layers(tree)
    for root, depth in enumerate((2, 0, 1), start=51):
        request.accept(tree, leaf=int((tree.depths == depth).nonzero()[-1]))
        tree = request.draft(root)
        request.assert_follows_the_layers(tree)


@pytest.mark.parametrize("forward", ["lean", "transformers"])
@torch.inference_mode()
def test_a_draft_leaves_the_targets_cache_as_it_was(forward: str) -> None:
    target = swift_target("gemma3", forward)
    options = attrs.evolve(OPTIONS, every=1)  # every draft tries other parts as well
    request = Request(target, SwiftDrafter(target, options, SHAPE))

    def cache() -> list[Tensor]:
        held: Any = target.forward
        held, end = held._cache, target.forward.committed
        if forward == "lean":
            return [held.data[..., :end, :].clone()]
        return [part[:, :, :end].clone() for one in held.tree_layers for part in (one.keys, one.values)]

    before = cache()
    request.draft(root=50)
    assert target.forward.committed == len(PROMPT)
    assert all(map(torch.equal, before, cache()))


def swift_engine(
    target: Target, tmp_path: Path, strategy: str = "full", *, costs: str = "off", **drafter: Any
) -> Engine:
    vocabulary: dict[str, dict[str, Any]] = {
        "full": {},
        "nanospec": {"capacity": 40, "prompt_window": 4},
        "static": {"size": 60, "frequencies": str(tmp_path / "ids.json")},
        "exact-screen": {"candidates": 16},
    }
    (tmp_path / "ids.json").write_text(json.dumps(list(range(VOCAB_SIZE))))
    options = {"drafter": {"lookup": 0, **drafter}, "vocabulary": vocabulary[strategy]}
    config = RunConfig(strategy=strategy, drafter="swift", dtype="float32", costs=costs, options=options)
    return build_engine(config, target=target)


@pytest.mark.parametrize(
    ("strategy", "settings"),
    [
        ("full", {"branching": 1, "depth": 4}),
        ("nanospec", {}),
        ("nanospec", {"costs": "auto", "lookup": 8}),
        ("static", {"window": 3}),
        ("exact-screen", {"costs": "auto"}),
    ],
    ids=["chain", "tree", "lookup", "short trials", "what pays"],
)
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_output_is_the_one_of_transformers(
    tmp_path: Path, model_type: str, strategy: str, settings: dict[str, Any]
) -> None:
    target = swift_target(model_type)
    engine = swift_engine(target, tmp_path, strategy, **{"skip": 0.3, "every": 5, "window": 8, **settings})
    assert engine.generate(PROMPT, 40).token_ids == reference_greedy(target.model, torch.tensor(PROMPT), 40)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_with_the_plain_forward_it_is_too(tmp_path: Path, model_type: str) -> None:
    target = swift_target(model_type, "transformers")
    engine = swift_engine(target, tmp_path, skip=0.3, every=5, window=8, depth=4, nodes=5)
    assert engine.generate(PROMPT, 40).token_ids == reference_greedy(target.model, torch.tensor(PROMPT), 40)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_with_nothing_left_out_it_is_always_right(tmp_path: Path, model_type: str) -> None:
    engine = swift_engine(swift_target(model_type), tmp_path, skip=0, branching=1, depth=4, nodes=5)
    report = engine.generate(PROMPT, 51)
    assert (report.target_passes, report.tau) == (10, 5)


def idle(target: Target) -> LeftOut:
    """Let half of the parts between the first and the last layer of eight add nothing, and return which."""
    dead = LeftOut(attention=frozenset({2, 4, 5}), mlp=frozenset({2, 3, 5}))
    for index, layer in enumerate(target.model.model.layers):
        if index in dead.attention:
            layer.self_attn.o_proj.weight.zero_()
        if index in dead.mlp:
            layer.mlp.down_proj.weight.zero_()
    return dead


def test_the_search_finds_the_parts_that_add_nothing(tmp_path: Path) -> None:
    model = tiny_model(num_hidden_layers=8).requires_grad_(False)
    model.generation_config.eos_token_id = None
    dead = idle(Target(LoadedModel(model, tiny_tokenizer(), "tiny")))
    target = Target(LoadedModel(model, tiny_tokenizer(), "tiny"))  # lean layers are copies
    target.stop_ids = frozenset()
    engine = swift_engine(target, tmp_path, skip=0.5, every=1, window=32, branching=1, depth=4, nodes=5)
    report = engine.generate(PROMPT, 200)
    called: Any = engine.drafting.drafter
    drafter = called.component
    assert drafter.left_out == dead
    assert report.token_ids == reference_greedy(model, torch.tensor(PROMPT), 200)
    late = engine.steps[-10:-1]
    assert all(step.accepted == 4 for step in late), "what adds nothing can be left out"


def test_a_request_finds_nothing_of_another_one(tmp_path: Path) -> None:
    engine = swift_engine(swift_target(), tmp_path, skip=0.3, every=2, window=6)
    first = engine.generate(PROMPT, 40)
    engine.generate([7, 7, 90, 13] * 4, 40)
    assert engine.generate(PROMPT, 40).accept_by_depth == first.accept_by_depth


def test_a_warm_draftergoes_on_with_what_it_found(tmp_path: Path) -> None:
    target = swift_target()
    options = {"skip": 0.3, "every": 2, "window": 6, "lookup": 0}
    config = RunConfig(
        drafter="swift", dtype="float32", costs="off", warm="shared", options={"drafter": options}
    )
    engine = build_engine(config, target=target)
    called: Any = engine.drafting.drafter
    drafter = called.component
    engine.generate(PROMPT, 40)
    found = drafter._search.trials
    assert engine.generate(PROMPT, 40).token_ids == reference_greedy(target.model, torch.tensor(PROMPT), 40)
    assert drafter._search.trials > found > 0


def test_a_conversation_is_drafted_as_from_the_start(tmp_path: Path) -> None:
    engine = swift_engine(swift_target(), tmp_path, "nanospec", skip=0.3, trials=0)
    fresh = swift_engine(swift_target(), tmp_path, "nanospec", skip=0.3, trials=0)
    said, key = [*PROMPT], object()
    for turn in ([12, 13, 14], [77, 5, 5, 60, 31], [9]):
        said += turn
        report, expected = engine.generate(said, 9, turn_of=key), fresh.generate(said, 9)
        names = ("token_ids", "target_passes", "accept_by_depth")
        assert [getattr(report, name) for name in names] == [getattr(expected, name) for name in names]
        said += report.token_ids
    assert report.kept_tokens > len(PROMPT) + 9


def test_it_drafts_up_to_the_last_position(tmp_path: Path) -> None:
    target = swift_target(max_position_embeddings=64)
    engine = swift_engine(target, tmp_path, skip=0.3, every=4, window=8, branching=4, depth=8, nodes=32)
    report = engine.generate(PROMPT, 64 - len(PROMPT))
    assert report.token_ids == reference_greedy(target.model, torch.tensor(PROMPT), 64 - len(PROMPT))


@pytest.mark.parametrize(("level", "drafts"), [(1.0, True), (25.0, False)])
def test_costs_turn_it_off_where_its_layers_are_too_dear(
    tmp_path: Path, level: float, drafts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = KnownCosts(paper_costs(SLOPED, draft=level, level=level))
    monkeypatch.setattr(KnownCosts, "of", lambda *asked: costs)
    report = swift_engine(swift_target(), tmp_path, costs="auto", skip=0.3).generate(PROMPT, 60)
    assert (report.tau > 1.5) is drafts


def drawing(target: Target, kind: TreeKind) -> SwiftDrafter:
    shape = SampledShape.of(kind, depth=3, branching=3, nodes=10)
    return SwiftDrafter(target, OPTIONS, TreeShape(3, 3, 10), TreeSampling(shape, temperature=0.8))


@pytest.mark.parametrize("kind", DRAWN)
def test_a_drafterof_sampled_trees_keeps_its_promises(kind: TreeKind) -> None:
    check_drafter(drawing(swift_target(), kind), 8)


@pytest.mark.parametrize("shape", [(0, 4, 12), (4, 4, 1), (1, 1, 2), (5, 1, 3), (2, 10, 60)])
def test_the_drafterkeeps_its_promises(shape: tuple[int, int, int]) -> None:
    check_drafter(SwiftDrafter(swift_target(), OPTIONS, TreeShape(*shape)), 8)


@pytest.mark.parametrize("verifier", ["sampling", "multi-round", "spectr-gbv"])
def test_sampled_text_follows_the_targets_own_distribution(verifier: str) -> None:
    sizes = {"vocab_size": 8, "hidden_size": 16, "intermediate_size": 16}
    target = endless_target(**sizes)
    prompt, length = torch.tensor([5, 3, 6, 3]), 4
    shape = {"depth": 2, "branching": 2, "nodes": 5, "lookup": 0}
    config = RunConfig(
        drafter="swift",
        verifier=verifier,
        dtype="float32",
        costs="off",
        max_new_tokens=length,
        sampling=SamplingParams(temperature=1.5, top_k=3),
        options={"drafter": {"skip": 0.5, "every": 1, "window": 2, **shape}, "vocabulary": {"capacity": 5}},
    )
    engine = build_engine(config, target=target)
    seeded = (attrs.evolve(config.sampling, seed=seed) for seed in range(300))
    reports = [engine.generate(prompt, sampling=sampling) for sampling in seeded]
    assert max(report.tau for report in reports) > 1.0, "nothing was drafted: this would see no fault"
    called: Any = engine.drafting.drafter
    drafter = called.component
    assert drafter.left_out != LeftOut()
    counts = Counter(tuple(report.token_ids) for report in reports)
    fit = fit_to(counts, own_distribution(target, config.sampling, prompt, length))
    assert fit.p_value > 1e-3, fit


def test_a_target_of_two_layers_has_nothing_to_leave_out(tmp_path: Path) -> None:
    target = endless_target(num_hidden_layers=2)
    report = swift_engine(target, tmp_path, branching=1, depth=2, nodes=3).generate(PROMPT, 13)
    assert report.tau == 3


def test_a_target_forward_that_cannot_is_named(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    with pytest.raises(UsageError, match="which target forward 'openvino' cannot; allowed: --target-forward"):
        swift_engine(swift_target(forward="openvino"), tmp_path)


def test_layers_without_such_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot leave out parts of tiny: OPTDecoderLayer has no MLP called"):
        swift_engine(ARCHITECTURES["OPT"].target(), tmp_path)


@pytest.mark.parametrize(
    "name", ["GPT-2", "GPT-NeoX", "Falcon", "Cohere", "GPT-OSS", "DeepSeek V3", "GraniteMoE", "OLMo 2"]
)
def test_layers_of_other_kinds_draft_too(tmp_path: Path, name: str) -> None:
    target = ARCHITECTURES[name].target()
    engine = swift_engine(target, tmp_path, skip=0.3, every=2, window=8, branching=1, depth=3, nodes=4)
    assert engine.generate(PROMPT, 24).token_ids == reference_greedy(target.model, torch.tensor(PROMPT), 24)
    assert not has_hooks(target.model)

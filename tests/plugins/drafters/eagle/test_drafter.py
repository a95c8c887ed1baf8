"""The drafter proposes what the stored head says along every path, and never changes the output."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import MODEL_TYPES, reference_greedy, tiny_target
from torch import Tensor

from specframe.bench.configurations import parse_configurations
from specframe.config import RunConfig
from specframe.contracts.clock import PhaseClock
from specframe.contracts.options import build_options
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.assembly import build_engine
from specframe.errors import UsageError
from specframe.model.target import Target
from specframe.registry.components import BuildContext, Setting
from specframe.testing import ReferenceGather, ScriptedBudget, check_drafter
from specframe.testing.reference import last_node
from specframe_plugins.drafters.components.eagle import COMPONENT, EagleOptions
from specframe_plugins.drafters.components.graft import sweep
from specframe_plugins.drafters.eagle.cached import CachedHead
from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.drafter import EagleDrafter
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.trees.shape import TreeShape

PROMPT = torch.tensor([5, 17, 42, 8, 33, 12, 70, 64, 21, 9, 11])


def random_head(target: Target) -> EagleHead:
    torch.manual_seed(0)
    config = EagleConfig.for_target(
        target.config,
        target_name=target.name,
        tokenizer_fingerprint=target.tokenizer_fingerprint,
        num_attention_heads=6,
        num_key_value_heads=3,
        induction_groups=1,
    )
    return EagleHead(config).to(target.dtype).eval().requires_grad_(False)


def drafter_for(
    target: Target,
    depth: int = 4,
    branching: int = 3,
    nodes: int = 12,
) -> EagleDrafter:
    shape = TreeShape(depth, branching, nodes)
    return EagleDrafter(
        CachedHead(random_head(target), beams=shape.branching, levels=shape.drafted_levels),
        target.embed_tokens,
        target.output_head,
        shape,
    )


def full_head(target: Target) -> ReferenceGather:
    gather = ReferenceGather()
    gather.bind(target.output_head, None)
    return gather


def accept(tree: DraftTree, leaf: int, next_token: int) -> Verdict:
    """Return the verdict that accepts the path to ``leaf``."""
    path = [leaf]
    while path[0]:
        path.insert(0, int(tree.parents[path[0]]))
    accepted = tuple(tree.token_ids[path[1:]].tolist())
    return Verdict(tuple(path), accepted, next_token, path_ends_at_leaf=False)


class History:
    """All tokens and features of a request, from which the stored head recomputes any path."""

    def __init__(self, target: Target, drafter: EagleDrafter) -> None:
        self.target, self.drafter, self.head = target, drafter, random_head(target)
        self.tokens = PROMPT.tolist()
        self.features = torch.randn(len(PROMPT), target.hidden_size, generator=torch.manual_seed(3))
        drafter.start(PROMPT, self.features)
        self.new = self.features[-1:]

    def draft(self, root: int) -> DraftTree:
        self.tokens.append(root)
        clock = PhaseClock()
        clock.start()
        return self.drafter.draft(root, self.new, full_head(self.target), clock)

    def commit(self, tree: DraftTree, leaf: int, next_token: int) -> None:
        verdict = accept(tree, leaf, next_token)
        self.drafter.commit(verdict)
        self.tokens += verdict.accepted_ids
        self.new = torch.randn(len(verdict.path), self.target.hidden_size)
        self.features = torch.cat((self.features, self.new))

    def log_probs_after(self, path: list[int]) -> Tensor:
        """Return what the head says after the committed tokens and a drafted path [V], with no cache."""
        features = self.features
        for drafted in range(len(path) + 1):
            embeddings = self.target.embed_tokens(torch.tensor([*self.tokens[1:], *path[:drafted]]))
            positions = torch.arange(len(embeddings))[None]
            predicted = self.head(embeddings[None], features[None], positions)[0, -1:]
            features = torch.cat((features, predicted))
        return self.target.output_head.logits(predicted)[0].log_softmax(-1)


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def target(request: pytest.FixtureRequest) -> Target:
    return tiny_target(request.param)


def assert_tree_follows_the_head(tree: DraftTree, history: History) -> None:
    tokens, parents = tree.token_ids.tolist(), tree.parents.tolist()
    paths: list[list[int]] = [[]]
    for node in range(1, last_node(tree) + 1):
        expected = history.log_probs_after(paths[parents[node]])[tokens[node]]
        torch.testing.assert_close(tree.log_probs[node], expected, rtol=1e-3, atol=1e-4)
        paths.append([*paths[parents[node]], tokens[node]])


@torch.inference_mode()
def test_every_node_has_the_log_probability_that_the_head_gives_its_path(target: Target) -> None:
    history = History(target, drafter_for(target))
    tree = history.draft(root=50)
    assert int(tree.depths.max()) > 1
    assert_tree_follows_the_head(tree, history)


@torch.inference_mode()
def test_later_drafts_follow_the_accepted_tokens_and_forget_the_others(target: Target) -> None:
    history = History(target, drafter_for(target))
    tree, root = history.draft(root=50), 50
    for accepted_depth in (2, 0, 1):
        leaf = int((tree.depths == accepted_depth).nonzero()[-1])
        root += 1
        history.commit(tree, leaf, next_token=root)
        tree = history.draft(root)
    assert_tree_follows_the_head(tree, history)


@torch.inference_mode()
def test_a_chain_takes_the_likeliest_token_each_time(target: Target) -> None:
    history = History(target, drafter_for(target, depth=3, branching=1))
    tree = history.draft(root=50)
    path: list[int] = []
    for _ in range(3):
        path.append(int(history.log_probs_after(path).argmax()))
    assert tree.token_ids.tolist() == [50, *path]
    assert tree.parents.tolist() == [-1, 0, 1, 2]


@pytest.mark.parametrize("shape", [(0, 4, 12), (4, 4, 1), (1, 1, 2), (5, 1, 3), (4, 4, 12), (2, 10, 60)])
def test_the_drafter_keeps_its_promises(target: Target, shape: tuple[int, int, int]) -> None:
    check_drafter(drafter_for(target, *shape), target.hidden_size)


@pytest.mark.parametrize("widths", [(), (1,), (4, 1, 2), (2, 4, 4), (1, 1, 1)], ids=str)
@torch.inference_mode()
def test_levels_of_any_width_follow_the_head_and_leave_nothing_behind(
    target: Target, widths: tuple[int, ...]
) -> None:
    drafter, budget = drafter_for(target, 4, 4, 60), ScriptedBudget([widths, (4, 4, 4), widths])
    drafter.draft_within(budget)
    history = History(target, drafter)
    for root in (50, 51, 52):
        tree = history.draft(root)
        assert_tree_follows_the_head(tree, history)
        history.commit(tree, leaf=last_node(tree), next_token=root + 1)
        budget.begin()


@torch.inference_mode()
def test_a_tree_has_the_levels_that_the_budget_grants(target: Target) -> None:
    for widths in ((), (2,), (1, 3)):
        drafter = drafter_for(target, 4, 4, 60)
        drafter.draft_within(ScriptedBudget([widths]))
        tree = History(target, drafter).draft(root=50)
        assert tree.depths.tolist().count(len(widths) + 1) == 4 * (widths[-1] if widths else 1)


@pytest.mark.parametrize(("depth", "nodes"), [(0, 12), (4, 1)])
def test_without_levels_or_nodes_only_the_root_is_drafted(target: Target, depth: int, nodes: int) -> None:
    drafter = drafter_for(target, depth=depth, nodes=nodes)
    assert (drafter.max_depth, drafter.max_nodes) == (0, 1)
    assert len(History(target, drafter).draft(root=50)) == 1


@pytest.mark.parametrize(("shape", "largest"), [((4, 4, 12), 12), ((2, 2, 60), 7), ((3, 1, 60), 4)])
def test_no_tree_is_larger_than_the_levels_can_fill(shape: tuple[int, int, int], largest: int) -> None:
    assert drafter_for(tiny_target(), *shape).max_nodes == largest


def test_the_time_of_a_draft_is_split_into_backbone_head_and_tree() -> None:
    target = tiny_target()
    drafter, clock = drafter_for(target), PhaseClock()
    drafter.start(PROMPT, torch.randn(len(PROMPT), target.hidden_size))
    clock.start()
    drafter.draft(50, torch.randn(1, target.hidden_size), full_head(target), clock)
    assert clock.seconds.keys() == {"draft_backbone", "draft_head", "draft_tree"}


def run_config(
    checkpoint: Path,
    strategy: str,
    capacity: int | None,
    branching: int = 4,
    costs: str = "auto",
) -> RunConfig:
    return RunConfig(
        strategy=strategy,
        dtype="float32",
        gather="torch",
        costs=costs,
        options={
            "drafter": {"checkpoint": str(checkpoint), "branching": branching},
            "vocabulary": {"capacity": capacity} if capacity else {},
        },
    )


@pytest.mark.parametrize("costs", ["auto", "off"])
@pytest.mark.parametrize(("strategy", "capacity"), [("full", None), ("nanospec", 40)])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_output_is_the_one_of_transformers(
    tmp_path: Path, model_type: str, strategy: str, capacity: int | None, costs: str
) -> None:
    target = tiny_target(model_type)
    save_head(random_head(target), tmp_path / "head")
    config = run_config(tmp_path / "head", strategy, capacity, costs=costs)
    engine = build_engine(config, target=target)
    assert engine.generate(PROMPT, 30).token_ids == reference_greedy(target.model, PROMPT, 30)


def test_a_capacity_below_the_branching_is_an_error(tmp_path: Path) -> None:
    target = tiny_target()
    save_head(random_head(target), tmp_path / "head")
    config = run_config(tmp_path / "head", "nanospec", capacity=7, branching=8)
    with pytest.raises(UsageError, match="capacity 7 of strategy 'nanospec' is below the branching 8"):
        build_engine(config, target=target)


def test_a_target_without_a_shipped_head_needs_a_checkpoint() -> None:
    target = tiny_target()
    context = BuildContext(target=target, required_ids=target.required_ids)
    with pytest.raises(UsageError, match="no EAGLE head ships for tiny-llama"):
        COMPONENT.factory(COMPONENT.options(), context)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_shape_that_a_sweep_compares_is_allowed(device: str) -> None:
    setting = Setting(
        device=torch.device(device),
        dtype=torch.bfloat16,
        vocabulary="nanospec",
        gather="torch",
        drafter="eagle",
        verifier="greedy",
    )
    offered = parse_configurations(
        f"nanospec:drafter.{one.replace(',', ',drafter.')}" for one in sweep(setting)
    )
    for configuration in offered:
        options = build_options(EagleOptions, configuration.options["drafter"], "drafter 'eagle'")
        assert options.shape(setting.device, budgeted=device == "cpu").largest > 1


@pytest.mark.parametrize("value", ["depth=-1", "branching=0", "nodes=0", "nodes=many"])
def test_an_option_out_of_bounds_is_an_error(value: str) -> None:
    name, _, number = value.partition("=")
    with pytest.raises(UsageError, match=f"option {name} of drafter 'eagle'"):
        build_options(EagleOptions, {name: number}, "drafter 'eagle'")

"""The draft model proposes what it says along every path when read at once, and never changes the output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from draft_requests import DRAWN, SHAPE, Request
from tiny_engines import PROMPT, endless_target
from tiny_models import MODEL_TYPES, VOCAB_SIZE, reference_greedy, tiny_model, tiny_tokenizer
from torch import Tensor

from specframe.config import RunConfig
from specframe.contracts.clock import PhaseClock
from specframe.contracts.kinds import TreeKind
from specframe.contracts.sampled_tree import SampledShape
from specframe.engine.assembly import build_engine
from specframe.engine.engine import Engine
from specframe.engine.faults import ComponentError
from specframe.model.language_model import LanguageModel
from specframe.model.loading import LoadedModel
from specframe.model.target import Target
from specframe.testing import ReferenceGather, check_drafter
from specframe_plugins.drafters.draft_model.drafter import DraftModelDrafter
from specframe_plugins.trees.shape import TreeSampling, TreeShape

# "relu" is left to the decoder of transformers; the others run lean.
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "gemma3": {},
    "relu": {"model_type": "llama", "hidden_act": "relu"},
}


def language_model(kind: str) -> LanguageModel:
    options = {"model_type": kind} | KINDS[kind]
    return LanguageModel(LoadedModel(tiny_model(**options, seed=7), tiny_tokenizer(), kind))


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return language_model(request.param)


@pytest.fixture(scope="module")
def llama() -> LanguageModel:
    return language_model("llama")


@torch.inference_mode()
def test_every_node_has_the_log_probability_that_the_model_gives_its_path(model: LanguageModel) -> None:
    request = Request(model, DraftModelDrafter(model, SHAPE))
    request.assert_follows_the_model(request.draft(root=50))


@torch.inference_mode()
def test_later_drafts_follow_the_accepted_tokens_and_forget_the_others(model: LanguageModel) -> None:
    request = Request(model, DraftModelDrafter(model, SHAPE))
    tree = request.draft(root=50)
    for root, accepted_depth in enumerate((2, 0, 1), start=51):
        request.accept(tree, leaf=int((tree.depths == accepted_depth).nonzero()[-1]))
        tree = request.draft(root)
    request.assert_follows_the_model(tree)


@torch.inference_mode()
def test_a_chain_takes_the_likeliest_token_each_time(llama: LanguageModel) -> None:
    request = Request(llama, DraftModelDrafter(llama, TreeShape(depth=3, branching=1, nodes=4)))
    tree = request.draft(root=50)
    path: list[int] = []
    for _ in range(3):
        path.append(int(request.log_probs_after(path).argmax()))
    assert tree.token_ids.tolist() == [50, *path]
    assert tree.parents.tolist() == [-1, 0, 1, 2]


@torch.inference_mode()
def test_a_prompt_in_chunks_is_read_as_a_whole(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specframe_plugins.drafters.draft_model.backbone._CHUNK", 7)
    monkeypatch.setattr("specframe_plugins.drafters.draft_model.backbone._INITIAL_CAPACITY", 4)
    request = Request(model, DraftModelDrafter(model, SHAPE), PROMPT * 5)
    request.assert_follows_the_model(request.draft(root=50))


def drawing(model: LanguageModel, kind: TreeKind) -> DraftModelDrafter:
    shape = SampledShape.of(kind, depth=3, branching=3, nodes=10)
    return DraftModelDrafter(model, TreeShape(3, 3, 10), TreeSampling(shape, temperature=0.8))


@pytest.mark.parametrize("kind", DRAWN)
@torch.inference_mode()
def test_trees_are_drawn_from_the_models_own_distributions(model: LanguageModel, kind: TreeKind) -> None:
    drafter = drawing(model, kind)
    drafter.sample_from(torch.Generator().manual_seed(4), torch.arange)
    request = Request(model, drafter)
    tree = request.draft(root=50)
    assert tree.sampled_from is not None
    tokens, parents = tree.token_ids.tolist(), tree.parents.tolist()
    paths: list[list[int]] = [[]]
    for node, row in enumerate(tree.sampled_from.rows):
        if node:
            paths.append([*paths[parents[node]], tokens[node]])
        if row >= 0:
            expected = (request.log_probs_after(paths[node]) / 0.8).softmax(-1)
            torch.testing.assert_close(tree.sampled_from.probabilities[row], expected, rtol=1e-3, atol=1e-4)
    assert max(map(len, paths)) > 1


@pytest.mark.parametrize("kind", DRAWN)
def test_a_drafter_of_sampled_trees_keeps_its_promises(llama: LanguageModel, kind: TreeKind) -> None:
    check_drafter(drawing(llama, kind), 8)


@pytest.mark.parametrize("shape", [(0, 4, 12), (4, 4, 1), (1, 1, 2), (5, 1, 3), (2, 10, 60)])
def test_the_drafter_keeps_its_promises(llama: LanguageModel, shape: tuple[int, int, int]) -> None:
    check_drafter(DraftModelDrafter(llama, TreeShape(*shape)), 8)


def engine_for(
    target: Target, tmp_path: Path, strategy: str = "full", *, costs: str = "off", **drafter: Any
) -> Engine:
    vocabulary: dict[str, Any] = {"nanospec": {"capacity": 40, "prompt_window": 4}, "full": {}}.get(
        strategy, {}
    )
    if strategy == "static":
        frequencies = tmp_path / "by-falling-frequency.json"
        frequencies.write_text(json.dumps(list(range(VOCAB_SIZE))))
        vocabulary = {"size": 60, "frequencies": str(frequencies)}
    options = {"drafter": {"lookup": 0, **drafter}, "vocabulary": vocabulary}
    config = RunConfig(
        strategy=strategy, drafter="draft-model", dtype="float32", costs=costs, options=options
    )
    return build_engine(config, target=target)


def saved(path: Path, *, rows: int = VOCAB_SIZE, tokens: int = VOCAB_SIZE, **overrides: Any) -> str:
    """Write a tiny model whose vocabulary is padded to ``rows``, and return its directory."""
    tiny_model(vocab_size=rows, **overrides).save_pretrained(path)
    tiny_tokenizer(tokens).save_pretrained(path)
    return str(path)


@pytest.mark.parametrize(
    "tree",
    [{}, {"branching": 1, "depth": 4}, {"costs": "auto"}, {"costs": "auto", "lookup": 8}],
    ids=["tree", "chain", "what pays", "lookup"],
)
@pytest.mark.parametrize("strategy", ["full", "static", "nanospec"])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_output_is_the_one_of_transformers(
    tmp_path: Path, model_type: str, strategy: str, tree: dict[str, Any]
) -> None:
    target = endless_target(model_type)
    report = engine_for(target, tmp_path, strategy, layers=2, **tree).generate(PROMPT, 30)
    assert report.token_ids == reference_greedy(target.model, torch.tensor(PROMPT), 30)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_whole_target_as_its_own_draft_model_is_always_right(tmp_path: Path, model_type: str) -> None:
    engine = engine_for(endless_target(model_type), tmp_path, layers=3, branching=1, depth=4, nodes=5)
    report = engine.generate(PROMPT, 51)
    assert (report.target_passes, report.tau) == (10, 5)


@pytest.mark.parametrize("rows", [95, 110])
@pytest.mark.parametrize("strategy", ["full", "static", "nanospec"])
def test_vocabularies_that_are_padded_to_other_sizes_fit(tmp_path: Path, strategy: str, rows: int) -> None:
    target = Target(LoadedModel(tiny_model(), tiny_tokenizer(90), "tiny"))
    target.model.generation_config.eos_token_id = None
    target.stop_ids = frozenset()
    model = saved(tmp_path / "draft", rows=rows, tokens=90, seed=3)
    engine = engine_for(target, tmp_path, strategy, model=model)
    for prompt in (PROMPT, [98, 99, 100, 97, 100]):
        report = engine.generate(prompt, 40)
        assert report.token_ids == reference_greedy(target.model, torch.tensor(prompt), 40)
    assert bool(report.unknown_ids) == (rows < VOCAB_SIZE and strategy == "nanospec")


def test_beyond_the_positions_of_the_draft_model_nothing_is_drafted(tmp_path: Path) -> None:
    target = endless_target()
    model = saved(tmp_path / "draft", max_position_embeddings=32)
    engine = engine_for(target, tmp_path, model=model, depth=4, branching=1, nodes=5)
    report = engine.generate(PROMPT, 60)
    assert report.token_ids == reference_greedy(target.model, torch.tensor(PROMPT), 60)
    sizes = [step.tree_nodes for step in engine.steps]
    # It is the target itself: five tokens a pass. Roots are at positions 11, 16, 21 and 26, then at 31, where
    # three drafted levels more would be too many.
    assert sizes == [5] * 4 + [1] * (len(sizes) - 4)
    assert engine.generate(PROMPT * 4, 5).target_passes == 4


def test_a_conversation_is_drafted_as_from_the_start(tmp_path: Path) -> None:
    engine = engine_for(endless_target(), tmp_path, "nanospec", layers=2)
    fresh = engine_for(endless_target(), tmp_path, "nanospec", layers=2)
    said, key = [*PROMPT], object()
    for turn in ([12, 13, 14], [77, 5, 5, 60, 31], [9]):
        said += turn
        report, expected = engine.generate(said, 9, turn_of=key), fresh.generate(said, 9)
        names = ("token_ids", "target_passes", "accept_by_depth", "active_mean")
        assert [getattr(report, name) for name in names] == [getattr(expected, name) for name in names]
        said += report.token_ids
    assert report.kept_tokens > len(PROMPT) + 9


def test_a_draft_model_that_fails_is_named_and_can_be_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = endless_target()
    expected = reference_greedy(target.model, torch.tensor(PROMPT), 20)
    strict, lenient = (engine_for(target, tmp_path, layers=2) for _ in range(2))
    lenient.config = RunConfig(strategy="full", drafter="draft-model", dtype="float32", fallback=True)

    def fail(*arguments: object) -> Tensor:
        raise ValueError("out of order")

    monkeypatch.setattr("specframe_plugins.drafters.draft_model.backbone.ModelBackbone.extend", fail)
    with pytest.raises(ComponentError, match=r"raised in .*: ValueError: out of order"):
        strict.generate(PROMPT, 20)
    report = lenient.generate(PROMPT, 20)
    assert report.token_ids == expected
    assert "out of order" in str(report.fallback)
    monkeypatch.undo()
    assert strict.generate(PROMPT, 20).token_ids == expected


def test_features_are_not_looked_at(llama: LanguageModel) -> None:
    drafter = DraftModelDrafter(llama, SHAPE)
    trees = []
    for width in (0, 3):
        drafter.start(torch.tensor(PROMPT), torch.full((len(PROMPT), width), torch.nan))
        gather, clock = ReferenceGather(), PhaseClock()
        gather.bind(drafter.output_head, None)
        clock.start()
        trees.append(drafter.draft(50, torch.full((1, width), torch.nan), gather, clock).token_ids.tolist())
    assert trees[0] == trees[1]

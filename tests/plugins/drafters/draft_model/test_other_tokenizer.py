"""A draft model with another tokenizer drafts the target's tokens or text, and never changes the output."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from draft_requests import DRAWN, SHAPE, Request
from other_tokenizers import LETTERS, byte_level, sentencepiece
from tiny_models import reference_greedy, tiny_model
from torch import Tensor

from specframe.config import RunConfig
from specframe.contracts.kinds import TreeKind
from specframe.contracts.protocols import Drafter
from specframe.contracts.sampled_tree import SampledShape
from specframe.contracts.tree import DraftTree
from specframe.engine.assembly import build_engine
from specframe.engine.engine import Engine
from specframe.model.language_model import LanguageModel
from specframe.model.loading import LoadedModel
from specframe.model.target import Target
from specframe.testing import check_drafter
from specframe_plugins.drafters.draft_model.drafter import DraftModelDrafter
from specframe_plugins.drafters.draft_model.loading import of_shared_tokens
from specframe_plugins.drafters.draft_model.strings import StringDrafter
from specframe_plugins.drafters.draft_model.translation import Translation
from specframe_plugins.trees.shape import TreeSampling, TreeShape

GPT = byte_level("Ġlight", "house", "keeper")
LLAMA = sentencepiece("▁lighthouse", "▁light", "house", "ke", "▁the")
PROMPT = "a light house keeper"
KINDS = ("intersection", "strings")
VOCABULARIES: dict[str, dict[str, Any]] = {
    "nanospec": {"capacity": 40, "prompt_window": 4},
    "exact-screen": {"candidates": 20},
    "nanospec+lowrank": {"capacity": 40, "rank": 8, "candidates": 20},
}


def language_model(tokenizer: Any, name: str, **overrides: Any) -> LanguageModel:
    model = tiny_model(vocab_size=len(tokenizer), **overrides)
    return LanguageModel(LoadedModel(model, tokenizer, name))


@attrs.frozen
class Pair:
    """A draft model of other tokens, its head in those of the target, and what goes between them."""

    model: LanguageModel
    between: Translation
    target: LanguageModel

    @classmethod
    def of(cls, draft: Any, target: Any) -> Pair:
        model, theirs = language_model(draft, "draft", seed=7), language_model(target, "target")
        return cls(model, Translation(model, theirs), theirs)

    def shared(self) -> LanguageModel:
        model = language_model(self.model.tokenizer, "draft", seed=7)
        model.output_head = of_shared_tokens(model.output_head, self.between, self.target.vocab_size)
        return model

    def strings(self, depth: int) -> StringDrafter:
        return StringDrafter(self.model, self.between, self.target.output_head, depth)


@pytest.fixture(scope="module", params=["SentencePiece for bytes", "bytes for SentencePiece"])
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair.of(*((LLAMA, GPT) if request.param.startswith("S") else (GPT, LLAMA)))


class TranslatedRequest(Request):
    """A request whose paths the model recomputes from the translation of all its tokens."""

    def __init__(self, pair: Pair, drafter: Drafter) -> None:
        super().__init__(pair.model, drafter, pair.target.tokenizer(PROMPT)["input_ids"])
        self.pair = pair

    def log_probs_after(self, path: list[int]) -> Tensor:
        """Return what the model says of the tokens that both have [V], after the request's and a path."""
        between = self.pair.between
        ids, tokens = [*between.prefix], self.tokens
        for at, token_id in enumerate([*tokens, *path]):
            ids += between.reads(token_id, after=at, empty=len(ids) <= len(between.prefix))
        logits = self.pair.model.model(torch.tensor([ids])).logits[0, -1]
        found = torch.full((self.pair.target.vocab_size,), -torch.inf)
        found[between.token_ids] = logits[between.own_ids]
        return found.log_softmax(-1)


@torch.inference_mode()
def test_every_node_has_the_log_probability_that_the_model_gives_its_translation(pair: Pair) -> None:
    request = TranslatedRequest(pair, DraftModelDrafter(pair.shared(), SHAPE, None, pair.between))
    tree = request.draft(root=pair.target.tokenizer.convert_tokens_to_ids("house"))
    for depth in (2, 0, 1):
        request.assert_follows_the_model(tree)
        request.accept(tree, leaf=int((tree.depths == depth).nonzero()[-1]))
        tree = request.draft(root=pair.target.tokenizer.convert_tokens_to_ids("e"))
    request.assert_follows_the_model(tree)


def drawing(pair: Pair, kind: TreeKind) -> DraftModelDrafter:
    shape = SampledShape.of(kind, depth=3, branching=3, nodes=10)
    return DraftModelDrafter(
        pair.shared(), TreeShape(3, 3, 10), TreeSampling(shape, temperature=0.8), pair.between
    )


@pytest.mark.parametrize("kind", DRAWN)
def test_a_drafter_of_sampled_trees_keeps_its_promises(pair: Pair, kind: TreeKind) -> None:
    check_drafter(drawing(pair, kind), 8)


@pytest.mark.parametrize("shape", [(0, 4, 12), (4, 4, 1), (5, 1, 3), (3, 4, 12)])
def test_the_drafter_keeps_its_promises(pair: Pair, shape: tuple[int, int, int]) -> None:
    check_drafter(DraftModelDrafter(pair.shared(), TreeShape(*shape), None, pair.between), 8)


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_a_drafter_of_text_keeps_its_promises(pair: Pair, depth: int) -> None:
    check_drafter(pair.strings(depth), 8)


def chain(tree: DraftTree) -> list[int]:
    assert tree.parents.tolist() == list(range(-1, len(tree) - 1))
    return tree.token_ids.tolist()[1:]


@torch.inference_mode()
def test_text_is_drafted_as_the_model_writes_it_in_the_targets_tokens(pair: Pair) -> None:
    request = TranslatedRequest(pair, pair.strings(5))
    request.drafter.propose_among(lambda ids: torch.ones(len(ids), dtype=torch.bool))
    tree = request.draft(root=pair.target.tokenizer.convert_tokens_to_ids("house"))
    between, tokens = pair.between, request.tokens
    ids = [*between.prefix]
    for at, token_id in enumerate(tokens):
        ids += between.reads(token_id, after=at, empty=len(ids) <= len(between.prefix))
    text, sure = b"", 0.0
    while len(between.written(text)) < 5:
        best = pair.model.model(torch.tensor([ids])).logits[0, -1].log_softmax(-1).max(-1)
        said = between.says(int(best.indices))
        assert said is not None, "choose another seed: the model ends its text"
        ids, text, sure = [*ids, int(best.indices)], text + said, sure + float(best.values)
    assert chain(tree) == [token_id for token_id, _ in between.written(text)][:5]
    assert float(tree.log_probs.sum()) == pytest.approx(sure, rel=1e-3)


def test_text_is_drafted_up_to_the_first_token_that_is_not_active(pair: Pair) -> None:
    drafter = pair.strings(5)
    trees = []
    for inactive in (None, 2):
        request = TranslatedRequest(pair, drafter)
        drafter.propose_among(lambda ids, at=inactive: torch.arange(len(ids)) != (-1 if at is None else at))
        trees.append(chain(request.draft(root=pair.target.tokenizer.convert_tokens_to_ids("house"))))
    assert trees[1] == trees[0][:2]


def saved(path: Path, tokenizer: Any, **overrides: Any) -> str:
    tiny_model(vocab_size=len(tokenizer), **overrides).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def endless(tokenizer: Any, **overrides: Any) -> Target:
    target = Target(LoadedModel(tiny_model(vocab_size=len(tokenizer), **overrides), tokenizer, "target"))
    target.model.generation_config.eos_token_id = None
    target.stop_ids = frozenset()
    return target


def engine_for(target: Target, model: str, tmp_path: Path, strategy: str = "full", **drafter: Any) -> Engine:
    vocabulary: dict[str, Any] = VOCABULARIES.get(strategy, {})
    if strategy == "static":
        frequencies = tmp_path / "by-falling-frequency.json"
        frequencies.write_text(json.dumps(list(range(target.vocab_size))))
        vocabulary = {"size": 120, "frequencies": str(frequencies)}
    costs = drafter.pop("costs", "off")
    options = {"drafter": {"lookup": 0, "model": model, **drafter}, "vocabulary": vocabulary}
    return build_engine(
        RunConfig(strategy=strategy, drafter="draft-model", dtype="float32", costs=costs, options=options),
        target=target,
    )


@pytest.mark.parametrize("options", [{}, {"costs": "auto"}, {"costs": "auto", "lookup": 8}], ids=str)
@pytest.mark.parametrize("strategy", ["full", "static", "nanospec"])
@pytest.mark.parametrize("tokens", KINDS)
@pytest.mark.parametrize("draft", ["SentencePiece", "bytes"])
def test_the_output_is_the_one_of_transformers(
    tmp_path: Path, draft: str, tokens: str, strategy: str, options: dict[str, Any]
) -> None:
    theirs, own = (GPT, LLAMA) if draft == "SentencePiece" else (LLAMA, GPT)
    target = endless(theirs, model_type="gemma3")
    engine = engine_for(target, saved(tmp_path / "draft", own), tmp_path, strategy, tokens=tokens, **options)
    prompt = torch.tensor(theirs(PROMPT)["input_ids"])
    report = engine.generate(prompt, 30)
    assert report.token_ids == reference_greedy(target.model, prompt, 30)


@pytest.mark.parametrize("strategy", ["exact-screen", "nanospec+lowrank"])
def test_screens_choose_among_the_tokens_that_both_have(tmp_path: Path, strategy: str) -> None:
    target = endless(LLAMA)
    engine = engine_for(target, saved(tmp_path / "draft", GPT), tmp_path, strategy)
    prompt = torch.tensor(LLAMA(PROMPT)["input_ids"])
    assert engine.generate(prompt, 30).token_ids == reference_greedy(target.model, prompt, 30)
    assert any(step.tree_nodes > 1 for step in engine.steps)


def twins(tmp_path: Path) -> tuple[Target, str]:
    """Return a target that says letters alone, and a draft model of other ids that says the same."""
    own = sentencepiece("house", prefix_space=False, bos=False)
    between = Translation(language_model(own, "draft"), language_model(GPT, "target"))
    model, other = tiny_model(vocab_size=len(GPT), eos_token_id=None), tiny_model(vocab_size=len(own))
    said = [between.same(own_id) for own_id in own.convert_tokens_to_ids([*LETTERS])]
    model.lm_head.weight.data[[token_id for token_id in range(len(GPT)) if token_id not in said]] = 0.0
    weights = model.state_dict()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        rows = torch.zeros(len(own), 64)
        rows[between.own_ids] = weights[name][between.token_ids]
        weights[name] = rows
    other.load_state_dict(weights)
    other.save_pretrained(tmp_path / "draft")
    own.save_pretrained(tmp_path / "draft")
    target = Target(LoadedModel(model, GPT, "target"))
    target.stop_ids = frozenset()
    return target, str(tmp_path / "draft")


@pytest.mark.parametrize("tokens", KINDS)
def test_a_model_that_says_the_same_in_other_ids_is_always_right(tmp_path: Path, tokens: str) -> None:
    target, model = twins(tmp_path)
    prompt = torch.tensor(GPT.convert_tokens_to_ids([*"keeper"]))
    engine = engine_for(target, model, tmp_path, tokens=tokens, depth=4, nodes=5, branching=1)
    report = engine.generate(prompt, 51)
    assert report.token_ids == reference_greedy(target.model, prompt, 51)
    assert (report.target_passes, report.tau) == (10, 5)


@pytest.mark.parametrize("tokens", KINDS)
def test_a_conversation_is_drafted_as_from_the_start(tmp_path: Path, tokens: str) -> None:
    model = saved(tmp_path / "draft", LLAMA)
    engine, fresh = (engine_for(endless(GPT), model, tmp_path, tokens=tokens) for _ in range(2))
    said, key = GPT(PROMPT)["input_ids"], object()
    for turn in ("light the", "é house", "a"):
        said = said + GPT(turn)["input_ids"]
        prompt = torch.tensor(said)
        report, expected = engine.generate(prompt, 9, turn_of=key), fresh.generate(prompt, 9)
        names = ("token_ids", "target_passes", "accept_by_depth")
        assert [getattr(report, name) for name in names] == [getattr(expected, name) for name in names]
        said = said + report.token_ids
    assert report.kept_tokens > len(PROMPT) + 9


def test_beyond_the_positions_of_the_draft_model_nothing_is_drafted(tmp_path: Path) -> None:
    target = endless(LLAMA)
    engine = engine_for(target, saved(tmp_path / "draft", GPT, max_position_embeddings=32), tmp_path)
    prompt = torch.tensor(LLAMA(PROMPT)["input_ids"])
    report = engine.generate(prompt, 40)
    assert report.token_ids == reference_greedy(target.model, prompt, 40)
    sizes = [step.tree_nodes for step in engine.steps]
    assert sizes[0] > 1
    assert sizes[-1] == 1


def test_another_tokenizer_is_said_on_loading_with_what_it_drafts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        engine_for(endless(GPT), saved(tmp_path / "draft", LLAMA), tmp_path)
    assert "has another tokenizer than target: it drafts 260 of 271 tokens, 96%" in caplog.text

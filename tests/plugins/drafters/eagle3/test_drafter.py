"""The EAGLE-3 drafter proposes what the stored head says along every path, and never changes the output."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import MODEL_TYPES, VOCAB_SIZE, reference_greedy, tiny_target
from torch import Tensor

from specframe.config import RunConfig
from specframe.contracts.clock import PhaseClock
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.row_map import RowMap
from specframe.engine.assembly import build_engine
from specframe.errors import UsageError
from specframe.model.target import Target
from specframe.registry.components import BuildContext, DoctorRequest
from specframe.replay.recording import TraceRecorder
from specframe.replay.trace_file import read_trace
from specframe.testing import ReferenceGather, check_drafter
from specframe.vocabulary.draft_head import DraftHead
from specframe_plugins.drafters.components.eagle3 import COMPONENT
from specframe_plugins.drafters.eagle.drafter import EagleDrafter
from specframe_plugins.drafters.eagle3.cached import CachedEagle3
from specframe_plugins.drafters.eagle3.checkpoint import save_head
from specframe_plugins.drafters.eagle3.model import Eagle3Head, for_target
from specframe_plugins.trees.shape import TreeShape

PROMPT = torch.tensor([5, 17, 42, 8, 33, 12, 70, 64, 21, 9, 11])
TOKENS = torch.arange(1, VOCAB_SIZE, 2)  # the odd ones, EOS among them


def random_head(target: Target, **options: Any) -> Eagle3Head:
    torch.manual_seed(0)
    config = for_target(target.config, tokenizer_fingerprint=target.tokenizer_fingerprint, **options)
    head = Eagle3Head(config).eval().requires_grad_(False)
    torch.nn.init.normal_(head.lm_head.weight)
    return head


def drafter_for(target: Target, head: Eagle3Head, row_map: RowMap) -> EagleDrafter:
    shape = TreeShape(depth=4, branching=3, nodes=12)
    return EagleDrafter(
        CachedEagle3(head, beams=shape.branching, levels=shape.drafted_levels),
        head.embed_tokens if head.config.own_embedding else target.embed_tokens,
        OutputHead(head.lm_head.weight, row_map=row_map),
        shape,
        feature_layers=head.config.feature_layers,
    )


def log_probs_after(
    head: Eagle3Head, embed_tokens: Any, tokens: list[int], features: Tensor, path: list[int]
) -> Tensor:
    """Return what the head says after tokens, the target's features [T, F] and a drafted path [rows]."""
    hidden = head.fuse(features)
    for drafted in range(len(path) + 1):
        embeddings = embed_tokens(torch.tensor([*tokens[1:], *path[:drafted]]))
        predicted = head(embeddings[None], hidden[None], torch.arange(len(hidden))[None])[0, -1:]
        hidden = torch.cat((hidden, predicted))
    return head.lm_head(head.norm(predicted))[0].log_softmax(-1)


HEADS: dict[str, dict[str, Any]] = {
    "full": {},
    "reduced": {"draft_vocab_size": len(TOKENS)},
    "norm before the residual": {"norm_before_residual": True},
    "of another width": {"hidden_size": 32, "head_dim": 8, "own_embedding": True},
    "with biases": {"fc_bias": True, "attention_bias": True},
    "with an induction head": {"num_attention_heads": 6, "num_key_value_heads": 3, "induction_groups": 1},
}


@pytest.mark.parametrize("kind", HEADS)
@torch.inference_mode()
def test_every_node_has_the_log_probability_that_the_head_gives_its_path(kind: str) -> None:
    target = tiny_target(num_hidden_layers=6)
    head = random_head(target, **HEADS[kind])
    row_map = RowMap.of(TOKENS, VOCAB_SIZE) if kind == "reduced" else RowMap(VOCAB_SIZE)
    drafter = drafter_for(target, head, row_map)
    gather = DraftHead(ReferenceGather(), row_map)
    gather.bind(drafter.output_head, None)
    embed_tokens = head.embed_tokens if head.config.own_embedding else target.embed_tokens

    features = torch.randn(len(PROMPT), head.config.feature_size)
    drafter.start(PROMPT, features)
    clock = PhaseClock()
    clock.start()
    tree = drafter.draft(51, features[-1:], gather, clock)
    tokens, parents = tree.token_ids.tolist(), tree.parents.tolist()
    row_of = (
        {token: row for row, token in enumerate(TOKENS.tolist())} if row_map.reduced else range(VOCAB_SIZE)
    )
    paths: list[list[int]] = [[]]
    for node in range(1, len(tree)):
        log_probs = log_probs_after(
            head, embed_tokens, [*PROMPT.tolist(), 51], features, paths[parents[node]]
        )
        torch.testing.assert_close(
            tree.log_probs[node], log_probs[row_of[tokens[node]]], rtol=1e-3, atol=1e-3
        )
        paths.append([*paths[parents[node]], tokens[node]])
    assert max(map(len, paths)) > 1


def test_the_drafter_keeps_its_promises() -> None:
    target = tiny_target()
    head = random_head(target)
    check_drafter(drafter_for(target, head, RowMap(VOCAB_SIZE)), head.config.feature_size)


@pytest.mark.parametrize("strategy", ["full", "static", "nanospec"])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_output_is_the_one_of_transformers(tmp_path: Path, model_type: str, strategy: str) -> None:
    target = tiny_target(model_type)
    save_head(random_head(target, draft_vocab_size=len(TOKENS)), TOKENS, tmp_path / "head")
    engine = build_engine(run_config(tmp_path / "head", strategy, tmp_path), target=target)
    assert engine.generate(PROMPT, 30).token_ids == reference_greedy(target.model, PROMPT, 30)


def run_config(checkpoint: Path, strategy: str, tmp_path: Path) -> RunConfig:
    vocabulary: dict[str, Any] = {"nanospec": {"capacity": 40}, "full": {}}.get(strategy, {})
    if strategy == "static":
        frequencies = tmp_path / "by-falling-frequency.json"
        frequencies.write_text(json.dumps(list(range(VOCAB_SIZE))))
        vocabulary = {"size": 60, "frequencies": str(frequencies)}
    options = {"drafter": {"checkpoint": str(checkpoint)}, "vocabulary": vocabulary}
    return RunConfig(strategy=strategy, drafter="eagle3", dtype="float32", gather="torch", options=options)


def test_a_trace_of_its_drafts_is_recorded_with_the_features_that_it_reads(tmp_path: Path) -> None:
    target = tiny_target()
    save_head(random_head(target), None, tmp_path / "head")
    engine = build_engine(run_config(tmp_path / "head", "full", tmp_path), target=target)
    expected = engine.generate(PROMPT, 20)
    with TraceRecorder(engine, tmp_path / "trace", topk=2, prompt_window=4, strategy="full") as recorder:
        found = engine.generate(PROMPT, 20, id="0", task="task")
        recorder.add()
    assert (found.token_ids, found.target_passes) == (expected.token_ids, expected.target_passes)
    assert len(read_trace(tmp_path / "trace").requests[0].passes) == expected.target_passes


def test_ids_that_the_head_has_no_row_for_are_reported_and_never_covered(tmp_path: Path) -> None:
    target = tiny_target()
    save_head(random_head(target, draft_vocab_size=len(TOKENS)), TOKENS, tmp_path / "head")
    engine = build_engine(run_config(tmp_path / "head", "nanospec", tmp_path), target=target)
    report = engine.generate(PROMPT, 20)
    asked_in_the_prompt = {token for token in PROMPT.tolist() if token % 2 == 0}
    assert report.unknown_ids >= len(asked_in_the_prompt)
    odd = sum(token % 2 for step in engine.steps for token in step.emitted_ids)
    assert sum(step.covered for step in engine.steps) <= odd


def test_a_recorded_run_reports_the_ids_without_a_row_as_any_other(tmp_path: Path) -> None:
    target = tiny_target()
    save_head(random_head(target, draft_vocab_size=len(TOKENS)), TOKENS, tmp_path / "head")
    engine = build_engine(run_config(tmp_path / "head", "nanospec", tmp_path), target=target)
    expected = engine.generate(PROMPT, 20).unknown_ids
    with TraceRecorder(engine, tmp_path / "trace", topk=4, prompt_window=4, strategy="nanospec"):
        assert engine.generate(PROMPT, 20).unknown_ids == expected > 0


def test_a_head_that_does_not_predict_its_target_is_a_loud_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = tiny_target()
    save_head(random_head(target), None, tmp_path / "head")
    with caplog.at_level(logging.WARNING):
        build_engine(run_config(tmp_path / "head", "full", tmp_path), target=target)
    assert "below 10%: it was made for other weights, or its tensors are mapped wrongly" in caplog.text


def test_a_head_that_cannot_draft_the_end_of_a_text_is_broken(tmp_path: Path) -> None:
    target = tiny_target()
    save_head(random_head(target, draft_vocab_size=20), torch.arange(50, 70), tmp_path / "head")
    request = DoctorRequest(
        device=target.device,
        dtype=target.dtype,
        compile_targets=(),
        target=target,
        checkpoint=tmp_path / "head",
    )
    assert COMPONENT.diagnose is not None
    fits, vocabulary, _ = COMPONENT.diagnose(request)
    assert (fits.ok, vocabulary.ok) == (True, False)
    assert "no draft tree can reach the end" in vocabulary.message


def test_a_checkpoint_is_needed() -> None:
    target = tiny_target()
    context = BuildContext(target=target, required_ids=target.required_ids)
    with pytest.raises(UsageError, match=r"allowed: -o drafter\.checkpoint=DIRECTORY"):
        COMPONENT.factory(COMPONENT.options(), context)

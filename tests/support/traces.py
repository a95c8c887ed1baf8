"""Engines over tiny models, and the traces they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from scripted import ScriptedDrafter
from tiny_models import reference_greedy, tiny_target

from specframe.config import RunConfig
from specframe.contracts.options import build_options
from specframe.engine.drafting.active import ActiveDrafting
from specframe.engine.drafting.autoregressive import Autoregressive
from specframe.engine.engine import Engine
from specframe.model.target import Target
from specframe.registry.components import BuildContext
from specframe.registry.observers import Observers
from specframe.replay.recording import TraceRecorder
from specframe.replay.trace_file import Trace, read_trace
from specframe.vocabulary.protocol import DraftVocabulary
from specframe.vocabulary.store import VocabularyStore
from specframe.vocabulary.whole import WholeVocabulary
from specframe_plugins.gathers.torch import TorchGather
from specframe_plugins.verifiers.greedy import GreedyVerifier
from specframe_plugins.vocabularies.components import full, nanospec

PROMPTS = [torch.tensor(ids) for ids in ([7, 3, 9, 40, 7], [88, 3, 3, 90], list(range(60, 20, -1)))]
NEW_TOKENS = 40


def endless_target() -> Target:
    """Return a tiny target that never stops by itself."""
    target = tiny_target()
    target.model.generation_config.eos_token_id = None
    target.stop_ids = frozenset()
    return target


def scripted_engine(
    target: Target, prompt_ids: torch.Tensor, strategy: str = "full", **options: Any
) -> Engine:
    """Return an engine whose drafter knows the answer to one prompt."""
    text = reference_greedy(target.model, prompt_ids, NEW_TOKENS)
    drafter = ScriptedDrafter(target.output_head, text, max_nodes=8)
    component = {"full": full.COMPONENT, "nanospec": nanospec.COMPONENT}[strategy]
    context = BuildContext(target=target, required_ids=target.required_ids)
    builder = component.factory(build_options(component.options, options, strategy), context)
    store: DraftVocabulary = WholeVocabulary(target.output_head, TorchGather())
    if builder.capacity is not None:
        store = VocabularyStore(
            target.output_head,
            TorchGather(),
            capacity=builder.capacity,
            eviction=builder.eviction,
            pinned_ids=builder.pinned_ids,
        )
    config = RunConfig(strategy=strategy, drafter="scripted", dtype="float32", max_new_tokens=NEW_TOKENS)
    return Engine(config, target, GreedyVerifier(), ActiveDrafting(drafter, builder, store), Observers())


def autoregressive_engine(target: Target) -> Engine:
    """Return an engine that drafts nothing."""
    config = RunConfig(strategy="autoregressive", dtype="float32", max_new_tokens=NEW_TOKENS)
    return Engine(config, target, GreedyVerifier(), Autoregressive(), Observers())


def record(engine: Engine, path: Path, prompts: list[torch.Tensor], **settings: Any) -> Trace:
    """Record prompts and return the trace as it was read back."""
    settings = {"topk": 5, "prompt_window": 64, "strategy": engine.config.strategy, **settings}
    with TraceRecorder(engine, path, **settings) as recorder:
        for index, prompt_ids in enumerate(prompts):
            engine.generate(prompt_ids, id=str(index), task=f"task{index % 2}")
            recorder.add()
    return read_trace(path)

"""Engines on a tiny target with a random EAGLE head, any part of which a test may replace."""

from __future__ import annotations

from typing import Any

import torch
from screens import NoStates
from tiny_models import tiny_target

from specframe.config import RunConfig
from specframe.contracts.called.wrapping import called
from specframe.contracts.faults import Owner
from specframe.engine.drafting.active import ActiveDrafting
from specframe.engine.drafting.autoregressive import Autoregressive
from specframe.engine.engine import Engine
from specframe.model.target import Target
from specframe.registry.observers import Observers
from specframe.vocabulary.protocol import DraftVocabulary
from specframe.vocabulary.screened import ScreenedVocabulary
from specframe.vocabulary.store import VocabularyStore
from specframe_plugins.drafters.eagle.cached import CachedHead
from specframe_plugins.drafters.eagle.drafter import EagleDrafter
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.gathers.torch import TorchGather
from specframe_plugins.trees.shape import TreeShape
from specframe_plugins.verifiers.greedy import GreedyVerifier
from specframe_plugins.vocabularies.components.nanospec import NanospecOptions
from specframe_plugins.vocabularies.nanospec import NanospecVocabulary

PROMPT = [5, 17, 42, 8, 33, 12, 70, 64, 21, 9, 11]


def endless_target(model_type: str = "llama", **overrides: Any) -> Target:
    """Return a tiny target that no token id stops."""
    target = tiny_target(model_type, **overrides)
    target.model.generation_config.eos_token_id = None
    target.stop_ids = frozenset()
    return target


def repetitive_target(model_type: str = "llama", **overrides: Any) -> Target:
    """Return a tiny target whose greedy text often, and not always, goes on as it did before."""
    return endless_target(model_type, initializer_range=0.05, **overrides)


def eagle(target: Target) -> EagleDrafter:
    torch.manual_seed(0)
    head = EagleHead(EagleConfig.for_target(target.config)).requires_grad_(False)
    shape = TreeShape(3, 3, 8)
    cached = CachedHead(head, beams=shape.branching, levels=shape.drafted_levels)
    return EagleDrafter(cached, target.embed_tokens, target.output_head, shape)


def nanospec(target: Target, **options: Any) -> NanospecVocabulary:
    settings = {"capacity": 40, "prompt_window": 4} | options
    return NanospecVocabulary(NanospecOptions(**settings), target.required_ids, target.vocab_size)


def drafting_engine(
    target: Target,
    *,
    drafter: Any = None,
    strategy: Any = None,
    gather: Any = None,
    verifier: Any = None,
    observers: Observers | None = None,
    **settings: Any,
) -> Engine:
    """Return an engine with a random EAGLE head and ``nanospec``, or whatever replaces them."""
    config = RunConfig(dtype="float32", gather="torch", **settings)
    drafter = called(drafter or eagle(target), Owner("drafter", config.drafter))
    strategy = called(strategy or nanospec(target), Owner("vocabulary", config.strategy))
    gather = called(gather or TorchGather(), Owner("gather", config.gather))
    verifier = called(verifier or GreedyVerifier(), Owner("verifier", config.verifier))
    store = VocabularyStore(
        drafter.output_head, gather, capacity=strategy.capacity, pinned_ids=strategy.pinned_ids
    )
    vocabulary: DraftVocabulary = store
    if strategy.screen is not None:
        vocabulary = ScreenedVocabulary(store, strategy.screen, NoStates())
    drafting = ActiveDrafting(drafter, strategy, vocabulary)
    return Engine(config, target, verifier, drafting, observers or Observers())


def autoregressive_engine(target: Target, **settings: Any) -> Engine:
    config = RunConfig(strategy="autoregressive", dtype="float32", **settings)
    return Engine(config, target, GreedyVerifier(), Autoregressive(), Observers())

"""What is wrong with the settings of an engine, as far as its config tells, before anything is loaded."""

from __future__ import annotations

import torch
from vllm.config import VllmConfig
from vllm.logger import init_logger

from specframe.contracts.faults import ComponentError
from specframe.contracts.protocols import VocabularyBuilder
from specframe.errors import UsageError, one_line
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe.registry.registry import Registry
from specframe_vllm.choosing import Choice
from specframe_vllm.draft_head.refusals import refuse_kv_connector
from specframe_vllm.settings import Asked, asked_values
from specframe_vllm.target import VllmTarget

_log = init_logger("vllm.specframe")


def check(config: VllmConfig) -> None:
    """Refuse what cannot run; say so where the settings change nothing.

    Raises:
        SpecframeError: a setting is wrong, or does not go with the engine.
    """
    speculative = config.speculative_config
    refuse_kv_connector(getattr(getattr(speculative, "draft_model_config", None), "hf_config", None), config)
    values = asked_values(config.additional_config)
    if values is None:
        return
    registry = build_registry(create_plugin_manager())
    asked = Asked.of(values, registry)
    if speculative is None:
        _log.warning(
            "specframe: the settings change nothing: without a speculative config vLLM drafts nothing"
        )
    elif drafts_with_a_head(config):
        refuse_what_changes_rows(config)
        _try(asked, registry, config)
    else:
        _log.warning(
            "specframe: the settings change nothing: method %r has no draft model with an LM head",
            speculative.method,
        )


def drafts_with_a_head(config: VllmConfig) -> bool:
    """Return whether an engine drafts with a model that has an LM head."""
    speculative = config.speculative_config
    return speculative is not None and bool(speculative.use_eagle() or speculative.uses_draft_model())


def _try(asked: Asked, registry: Registry, config: VllmConfig) -> None:
    """Build the strategy once, on the host and without an LM head, for what it refuses."""
    try:
        target = VllmTarget(config.model_config, torch.device("cpu"), None)
        refuse_split_screen(Choice.of(asked, registry, target).make(), config)
    except ComponentError as error:
        if error.__cause__ is None:  # what it made is wrong
            raise
        # It raised: a stranger's strategy may need the LM head, which a worker has.
        _log.debug("specframe: the strategy is not built before a model is loaded: %s", one_line(error))


def refuse_split_screen(strategy: VocabularyBuilder, config: VllmConfig) -> None:
    """Raise a ``UsageError`` for a strategy that screens all rows of an LM head that is split over ranks."""
    if strategy.screen is not None and config.parallel_config.tensor_parallel_size > 1:
        raise UsageError("the strategy screens all rows of the LM head; allowed: tensor_parallel_size 1")


def refuse_what_changes_rows(config: VllmConfig) -> None:
    """Raise a ``UsageError`` where rows of the LM head may change, or stand for other tokens."""
    if getattr(config.speculative_config, "use_heterogeneous_vocab", False):
        raise UsageError(
            "the draft model has other token ids than the target; allowed: one vocabulary for both"
        )
    if config.lora_config is not None:
        raise UsageError("LoRA adapters may change the rows that were gathered; allowed: without LoRA")

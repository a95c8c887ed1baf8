"""What is wrong with the settings of an engine, as far as its config tells, before anything is loaded."""

from __future__ import annotations

from vllm.config import VllmConfig
from vllm.logger import init_logger

from specframe.errors import UsageError
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe_vllm.draft_head.refusals import refuse_kv_connector
from specframe_vllm.settings import Asked, asked_values

_log = init_logger("vllm.specframe")


def check(config: VllmConfig) -> None:
    """Refuse what cannot run; say so where the settings change nothing.

    Raises:
        UsageError: a setting is wrong, or does not go with the engine.
    """
    speculative = config.speculative_config
    refuse_kv_connector(getattr(getattr(speculative, "draft_model_config", None), "hf_config", None), config)
    values = asked_values(config.additional_config)
    if values is None:
        return
    Asked.of(values, build_registry(create_plugin_manager()))
    if speculative is None:
        _log.warning(
            "specframe: the settings change nothing: without a speculative config vLLM drafts nothing"
        )
    elif drafts_with_a_head(config):
        refuse_what_changes_rows(config)
    else:
        _log.warning(
            "specframe: the settings change nothing: method %r has no draft model with an LM head",
            speculative.method,
        )


def drafts_with_a_head(config: VllmConfig) -> bool:
    """Return whether an engine drafts with a model that has an LM head."""
    speculative = config.speculative_config
    return speculative is not None and bool(speculative.use_eagle() or speculative.uses_draft_model())


def refuse_what_changes_rows(config: VllmConfig) -> None:
    """Raise a ``UsageError`` where rows of the LM head may change, or stand for other tokens."""
    if getattr(config.speculative_config, "use_heterogeneous_vocab", False):
        raise UsageError(
            "the draft model has other token ids than the target; allowed: one vocabulary for both"
        )
    if config.lora_config is not None:
        raise UsageError("LoRA adapters may change the rows that were gathered; allowed: without LoRA")

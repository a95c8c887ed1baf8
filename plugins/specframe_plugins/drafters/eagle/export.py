"""EAGLE heads as draft models of vLLM: a config with what vLLM asks of a model, and the tensors as they are.

vLLM finds the class by ``architectures`` and the config's by ``model_type``; the package specframe-vllm
registers both, and reads the fields that are written here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs
from torch import Tensor

from specframe.errors import CheckpointError
from specframe.model.target import Target
from specframe.registry.components import ExportRequest
from specframe_plugins.drafters.checkpoint_files import read_settings, read_tensors, write_checkpoint
from specframe_plugins.drafters.eagle.checkpoint import EMBEDDING, LAYOUT, load_head, without_frequencies
from specframe_plugins.drafters.eagle.model import EagleConfig

MODEL_TYPE: Final = "specframe_eagle"
ARCHITECTURE: Final = "EagleSpecframeForCausalLM"

# Of the gated MLP of vLLM (vllm/model_executor/models/llama.py).
_ACTIVATION = "silu"
# vLLM asks for the rotary base in a form of its own.
_RENAMED = ("rope_theta",)
# What only published heads have, which vLLM loads as they are.
_PUBLIC = (
    "fc_norm",
    "norm_before_fc",
    "norm_output",
    "partial_rotary_factor",
    "rope_scaling",
    "sliding_window",
)


def target_of(checkpoint: Path) -> str | None:
    """Return the target that an EAGLE-2 checkpoint names, as in ``Export``."""
    try:
        settings = read_settings(checkpoint)
    except CheckpointError:
        return None
    if LAYOUT.describes(settings):
        return str(settings.get("target_name", ""))
    public = settings.get("num_hidden_layers") == 1 and not is_eagle3(settings)
    return "" if public else None


def is_eagle3(settings: Mapping[str, Any]) -> bool:
    """Return whether a ``config.json`` in one of the public layouts is of an EAGLE-3 head."""
    named = settings.get("architectures") or []
    return "draft_vocab_size" in settings or any("eagle3" in str(name).lower() for name in named)


def write(request: ExportRequest) -> None:
    """Write an EAGLE-2 head, as in ``Export``; its embedding and LM head are the target's.

    Raises:
        CheckpointError: the checkpoint is corrupt, made for another target, or has an embedding of its own.
        UsageError: ``request.out`` exists and holds something else.
    """
    config = load_head(request.checkpoint, request.target).config
    tensors = read_tensors(request.checkpoint)
    if config.own_embedding:
        raise CheckpointError(
            f"{request.checkpoint} has an embedding of its own; allowed to be exported: EAGLE-2 heads "
            "with the target's"
        )
    tensors.pop(EMBEDDING, None)
    write_draft_model(
        request.out,
        ARCHITECTURE,
        config,
        request.target,
        without_frequencies(config, tensors, request.checkpoint),
    )


def write_draft_model(
    out: Path,
    architecture: str,
    config: EagleConfig,
    target: Target,
    tensors: Mapping[str, Tensor],
    **more: Any,
) -> None:
    """Write the directory.

    Args:
        out: the directory.
        architecture: name of the class.
        config: of the head.
        target: the target that the head fits.
        tensors: of the head, by the names of this project's layout.
        **more: fields that only this architecture has, or that it has otherwise.

    Raises:
        CheckpointError: the head has something that only published heads have, or another activation than
            vLLM computes.
        UsageError: ``out`` exists and holds something else.
    """
    if config.hidden_act != _ACTIVATION:
        raise CheckpointError(
            f"the head has hidden_act {config.hidden_act!r}; allowed for vLLM: {_ACTIVATION}"
        )
    written = attrs.asdict(config)
    for field in attrs.fields(type(config)):
        if field.name in _PUBLIC and written[field.name] != field.default:
            raise CheckpointError(
                f"the head has {field.name} {written[field.name]!r}; allowed to be exported: heads without. "
                "vLLM loads a published head as it is"
            )
    fields = {name: value for name, value in written.items() if name not in (*_RENAMED, *_PUBLIC)}
    settings = {
        "architectures": [architecture],
        "model_type": MODEL_TYPE,
        "dtype": str(tensors["fc.weight"].dtype).removeprefix("torch."),
        "num_hidden_layers": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        # The embedding is the target's, and so is the LM head where the head has none: vLLM shares them.
        "tie_word_embeddings": False,
        "embedding_scale": target.embedding_scale,
        "logit_scale": target.output_head.scale,
        "final_logit_softcapping": target.output_head.softcap,
        "bos_token_id": target.config.bos_token_id,
        "eos_token_id": target.config.eos_token_id,
        **fields,
        **more,
    }
    write_checkpoint(out, settings, tensors, _is_draft_model, "exported head")


def _is_draft_model(settings: Mapping[str, Any]) -> bool:
    return settings.get("model_type") == MODEL_TYPE

"""EAGLE-3 heads as draft models of vLLM, in the form of ``drafters.eagle.export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from specframe.errors import CheckpointError
from specframe.registry.components import ExportRequest
from specframe_plugins.drafters.checkpoint_files import read_settings
from specframe_plugins.drafters.eagle.checkpoint import EMBEDDING, without_frequencies
from specframe_plugins.drafters.eagle.export import is_eagle3, write_draft_model
from specframe_plugins.drafters.eagle3.checkpoint import LAYOUT, load_head, named_tensors

ARCHITECTURE: Final = "Eagle3SpecframeForCausalLM"


def target_of(checkpoint: Path) -> str | None:
    """Return the target that an EAGLE-3 checkpoint names, as in ``Export``."""
    try:
        settings = read_settings(checkpoint)
    except CheckpointError:
        return None
    if LAYOUT.describes(settings):
        return str(settings.get("target_name", ""))
    return "" if is_eagle3(settings) else None


def write(request: ExportRequest) -> None:
    """Write an EAGLE-3 head, as in ``Export``.

    Raises:
        CheckpointError: the checkpoint is corrupt, or made for another target.
        UsageError: ``request.out`` exists and holds something else.
    """
    loaded = load_head(request.checkpoint, request.target)
    config, tensors = loaded.head.config, named_tensors(request.checkpoint)
    if not config.feature_layers:
        raise CheckpointError(
            f"{request.checkpoint} reads the target's output; allowed to be exported: heads that read layers"
        )
    more: dict[str, Any] = {"eagle_aux_hidden_state_layer_ids": list(config.feature_layers)}
    if config.own_embedding:
        more["embedding_scale"] = 1.0
    else:
        tensors.pop(EMBEDDING, None)
    if config.own_lm_head:
        more |= {"logit_scale": 1.0, "final_logit_softcapping": None}
    left = without_frequencies(config, tensors, request.checkpoint)
    write_draft_model(request.out, ARCHITECTURE, config, request.target, left, **more)

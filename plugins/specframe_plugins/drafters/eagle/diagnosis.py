"""What ``specframe doctor`` says about an EAGLE head: does it fit the target, and does it predict it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from specframe.contracts.lm_head import OutputHead
from specframe.errors import CheckpointError, PluginError, UsageError
from specframe.registry.components import DoctorRequest, Finding
from specframe_plugins.drafters.eagle.checkpoint import load_chosen
from specframe_plugins.drafters.eagle.model import EagleHead, PairLayer
from specframe_plugins.drafters.probe import Predict, probe


def diagnose(request: DoctorRequest) -> Iterator[Finding]:
    """Check a head against the target, if there is one."""
    target = request.target
    if target is None:
        return
    subject = "EAGLE head"
    try:
        head, path = load_chosen(request.checkpoint, target, request.data)
    except (CheckpointError, PluginError) as error:
        yield Finding(subject, False, str(error))
    except UsageError as error:
        # A target without a head still runs, with another drafter or with none.
        yield Finding(subject, None, str(error))
    else:
        yield Finding(subject, True, _describe(head, path))
        embed_tokens = head.embed_tokens if head.config.own_embedding else target.embed_tokens
        yield probe(predictor(head, embed_tokens, target.output_head), target).finding(
            "EAGLE head's predictions"
        )


def _describe(head: EagleHead, path: Path) -> str:
    if head.config.tokenizer_fingerprint is None:
        return f"{path}: sizes and values fit; it does not say which tokenizer it was trained with"
    return f"{path}: sizes, values and tokenizer fit"


def predictor(layer: PairLayer, embed_tokens: nn.Module, output_head: OutputHead) -> Predict:
    """Return the layer's first choices as token ids, through an embedding and an LM head."""

    def predict(token_ids: Tensor, features: Tensor) -> Tensor:
        embeddings = embed_tokens(token_ids[1:]).to(features.dtype)
        positions = torch.arange(len(features), device=features.device)
        predicted, _ = layer.predict(embeddings[None], layer.fuse(features)[None], positions[None])
        return output_head.row_map.tokens(output_head.best(predicted[0]))

    return predict

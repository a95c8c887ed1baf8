"""What ``specframe doctor`` says about an EAGLE head: does it fit the target, and does it predict it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from specframe.errors import CheckpointError, PluginError, UsageError
from specframe.model.target import Target
from specframe.registry.components import DoctorRequest, Finding
from specframe_plugins.drafters.eagle.checkpoint import load_chosen
from specframe_plugins.drafters.eagle.model import EagleHead
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
        yield probe(predictor(head, target), target).finding("EAGLE head's predictions")


def _describe(head: EagleHead, path: Path) -> str:
    if head.config.tokenizer_fingerprint is None:
        return f"{path}: sizes and values fit; it does not say which tokenizer it was trained with"
    return f"{path}: sizes, values and tokenizer fit"


def predictor(head: EagleHead, target: Target) -> Predict:
    """Return the head's first choices, through the target's embedding and LM head."""

    def predict(token_ids: Tensor, features: Tensor) -> Tensor:
        embeddings = target.embed_tokens(token_ids[1:]).to(target.dtype)
        positions = torch.arange(len(features), device=target.device)
        predicted = head(embeddings[None], features[None], positions[None])[0]
        return target.output_head.logits(predicted).argmax(dim=-1)

    return predict

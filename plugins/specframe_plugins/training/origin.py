"""Which target data was made with: data of another one would teach a head the wrong features."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

from specframe.errors import UsageError
from specframe.model.decoder_layers import name_of_layers
from specframe.model.target import Target
from specframe_plugins.training.shards import ShardSet

_ROWS = 64


def target_metadata(target: Target) -> dict[str, str]:
    """Name and fingerprints of a target, as shards keep them."""
    return {
        "target": target.name,
        "target_fingerprint": target_fingerprint(target),
        "tokenizer_fingerprint": target.tokenizer_fingerprint,
    }


def target_fingerprint(target: Target) -> str:
    """A short hash of sizes and of some weights; the same in every dtype that the target is loaded in."""
    digest = hashlib.sha256()
    config = target.config
    sizes = (config.model_type, config.num_hidden_layers, *target.output_head.weight.shape)
    digest.update(repr(sizes).encode())
    layers = getattr(target.decoder, name_of_layers(target.decoder, config.num_hidden_layers))
    last = [weight for weight in layers[-1].parameters() if weight.ndim > 1]
    for weight in (target.output_head.weight, *last):
        digest.update(weight[:_ROWS].detach().cpu().to(torch.bfloat16).view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:16]


def text_hash(texts: Sequence[object]) -> str:
    """A short hash of given texts or ids, for shards whose content depends on them."""
    return hashlib.sha256(repr(tuple(texts)).encode()).hexdigest()[:16]


def check_target(shards: ShardSet, expected: dict[str, str]) -> None:
    """Raises UsageError if any shard comes from another target; its name alone may differ."""
    for shard in shards.shards:
        for name in ("tokenizer_fingerprint", "target_fingerprint"):
            found = shard.metadata.get(name)
            if found != expected[name]:
                raise UsageError(
                    f"{shard.path} was made with {shard.metadata.get('target', 'another target')} ({name} "
                    f"{found}), not {expected['target']} ({expected[name]}); allowed: data of the same target"
                )

"""Which forward was measured to be the fastest for a decoder on this machine; kept in the cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import attrs
import torch

from specframe.contracts.kinds import ForwardName
from specframe.contracts.records import write_whole
from specframe.errors import SpecframeError
from specframe.model.loading import cache_directory
from specframe.ops.machine import Machine

# What the time of a pass depends on, as configs call it.
_SIZES = (
    "model_type",
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
)


def remember(config: Any, dtype: torch.dtype, forward: ForwardName) -> None:
    """Keep which forward is the fastest for decoders of these sizes, where the cache can be written.

    Args:
        config: of the model's text part.
        dtype: of its weights.
        forward: the fastest.
    """
    path = _path(config, dtype)
    with contextlib.suppress(OSError, SpecframeError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, (json.dumps({"forward": forward}) + "\n").encode())


def remembered(config: Any, dtype: torch.dtype) -> ForwardName | None:
    """Return what ``remember`` was told of such decoders on this machine, or None."""
    try:
        forward = json.loads(_path(config, dtype).read_text(encoding="utf-8"))["forward"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return forward if forward in get_args(ForwardName) else None


def _path(config: Any, dtype: torch.dtype) -> Path:
    sizes = {name: getattr(config, name, None) for name in _SIZES}
    machine = attrs.asdict(Machine.of(torch.device("cpu")))
    identity = json.dumps([sizes, str(dtype), machine, version("openvino")], sort_keys=True)
    return cache_directory() / "forwards" / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"

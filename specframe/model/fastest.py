"""Which forward and head were measured to be the fastest for a target here; kept in the cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import attrs
import torch

from specframe.contracts.kinds import ForwardName, TargetHeadName
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
    with contextlib.suppress(OSError, SpecframeError):
        _write(_forward_path(config, dtype), {"forward": forward})


def remembered(config: Any, dtype: torch.dtype) -> ForwardName | None:
    """Return what ``remember`` was told of such decoders on this machine, or None."""
    try:
        forward = json.loads(_forward_path(config, dtype).read_text(encoding="utf-8"))["forward"]
    except Exception:  # a file of a cache can be broken in any way, and so can the installation
        return None
    return forward if forward in get_args(ForwardName) else None


def remember_head(config: Any, dtype: torch.dtype, forward: ForwardName, head: TargetHeadName) -> None:
    """Keep which LM head is the fastest for targets of these sizes, where the cache can be written.

    Args:
        config: of the model's text part.
        dtype: of its weights.
        forward: what runs its layers.
        head: the fastest.
    """
    with contextlib.suppress(OSError, SpecframeError):
        _write(_head_path(config, dtype, forward), {"head": head})


def remembered_head(config: Any, dtype: torch.dtype, forward: ForwardName) -> TargetHeadName | None:
    """Return what ``remember_head`` was told of such targets on this machine, or None."""
    try:
        head = json.loads(_head_path(config, dtype, forward).read_text(encoding="utf-8"))["head"]
    except Exception:  # as above
        return None
    return head if head in get_args(TargetHeadName) else None


def _write(path: Path, note: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(note) + "\n").encode())


def _forward_path(config: Any, dtype: torch.dtype) -> Path:
    return _path("forwards", config, dtype, version("openvino"))


def _head_path(config: Any, dtype: torch.dtype, forward: ForwardName) -> Path:
    return _path("heads", config, dtype, getattr(config, "vocab_size", None), forward)


def _path(folder: str, config: Any, dtype: torch.dtype, *more: object) -> Path:
    sizes = {name: getattr(config, name, None) for name in _SIZES}
    machine = attrs.asdict(Machine.of(torch.device("cpu")))
    identity = json.dumps([sizes, str(dtype), machine, *more], sort_keys=True)
    return cache_directory() / folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"

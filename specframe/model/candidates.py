"""Which forward runs a model: the one that was asked for, or the fastest here, measured once."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from time import perf_counter
from typing import TYPE_CHECKING, Any

import attrs
import torch

from specframe.contracts.kinds import ForwardName
from specframe.contracts.records import write_whole
from specframe.errors import SpecframeError, UsageError
from specframe.model.forward import Forward, append, attention_windows, causal_mask
from specframe.model.lean.architecture import why_not
from specframe.model.lean.forward import LeanForward
from specframe.model.lean.parts import DecoderParts, ModelParts
from specframe.model.loading import cache_directory
from specframe.model.transformers_forward import TransformersForward
from specframe.ops.machine import Machine

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What `auto` spends on a copy of the weights.
_COPY_AT_MOST_BYTES = 4 << 30

# The passes that decide: nodes, behind so many tokens, each so often.
_NODES, _CONTEXT, _RUNS = (1, 4, 8), 64, 4
# A graph takes seconds to compile: passes that take less together are fast enough.
_WORTH_A_LOOK = 0.03

_log = logging.getLogger(__name__)


def candidates(
    model: PreTrainedModel, name: str, chosen: ForwardName
) -> Iterator[Callable[[], tuple[ForwardName, Forward]]]:
    """Yield what builds a forward to try for a model, and says its name; the model's own comes last.

    Args:
        model: the model.
        name: how users call it.
        chosen: what was asked for; ``auto`` takes what is fastest here.

    Raises:
        UsageError: what was chosen cannot run this model, or its attention is unknown.
    """
    windows = attention_windows(model.config.get_text_config())
    if chosen != "transformers":
        reason = why_not(model)
        if chosen != "auto" and reason is not None:
            raise UsageError(f"target forward {chosen!r} cannot run {name}: {reason}; allowed: transformers")
        reason = reason or (_why_not_by_default(model) if chosen == "auto" else None)
        if reason is None:
            yield lambda: build_forward(ModelParts(model), windows, chosen, name)
        else:
            _log.info("target forward of %s: transformers, for a model %s", name, reason)
        if chosen != "auto":
            return
    yield lambda: ("transformers", TransformersForward(model, windows))


def _why_not_by_default(model: PreTrainedModel) -> str | None:
    """Return why ``auto`` leaves a model alone that another forward could run."""
    if model.device.type != "cpu":
        return "which has not been measured on this device"
    if sum(parameter.nbytes for parameter in model.parameters()) > _COPY_AT_MOST_BYTES:
        return f"whose copy of the weights would take more than {_COPY_AT_MOST_BYTES >> 30} GiB"
    return None


def build_forward(
    parts: DecoderParts, windows: Mapping[str, int | None], chosen: ForwardName, name: str
) -> tuple[ForwardName, Forward]:
    """Return a forward over a decoder that ``architecture.why_not`` has nothing against, and its name.

    Args:
        parts: of the decoder.
        windows: the sliding window per layer type.
        chosen: ``lean`` or ``openvino``; ``auto`` takes the faster one.
        name: how users call the model.

    Raises:
        UsageError: ``openvino`` was asked for and cannot run it.
    """
    reason = why_not_openvino(parts)
    if chosen == "openvino":
        if reason is not None:
            raise UsageError(f"target forward 'openvino' cannot run {name}: {reason}")
        return "openvino", _openvino(parts, windows)
    if chosen == "lean" or reason is not None:
        return "lean", LeanForward(parts, windows)
    path = cache_directory() / "forwards" / f"{_key(parts)}.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        if json.loads(path.read_text(encoding="utf-8"))["fastest"] == "openvino":
            return "openvino", _openvino(parts, windows)
        return "lean", LeanForward(parts, windows)
    built: dict[ForwardName, Forward] = {"lean": LeanForward(parts, windows)}
    seconds: dict[ForwardName, float] = {"lean": _seconds(built["lean"])}
    if seconds["lean"] < _WORTH_A_LOOK:
        return "lean", built["lean"]
    built["openvino"] = _openvino(parts, windows)
    seconds["openvino"] = _seconds(built["openvino"])
    fastest = min(seconds, key=lambda one: seconds[one])
    _log.info("forwards of %s, ms for passes of 1, 4 and 8 tokens: %s", name, _told(seconds))
    with contextlib.suppress(OSError, SpecframeError):  # then it is measured again
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"fastest": fastest, "seconds": seconds}).encode())
    return fastest, built[fastest]


def why_not_openvino(parts: DecoderParts) -> str | None:
    """Return why OpenVINO cannot run a decoder, or None when it can."""
    if importlib.util.find_spec("openvino") is None:
        return "openvino is not installed; install it with: pip install 'specframe[openvino]'"
    if parts.device.type != "cpu":
        return f"it runs on CPUs, and the model is on {parts.device}; allowed: --device cpu"
    if parts.dtype != torch.float32:
        return f"it runs in float32, and the model is in {str(parts.dtype).removeprefix('torch.')}"
    return None


def _openvino(parts: DecoderParts, windows: Mapping[str, int | None]) -> Forward:
    from specframe.model.openvino.forward import OpenVinoForward

    return OpenVinoForward(parts, windows)


@torch.inference_mode()
def _seconds(forward: Forward) -> float:
    """Return the seconds of one pass of each size, of several the fastest."""
    forward.begin(_CONTEXT + max(_NODES))
    append(forward, torch.arange(_CONTEXT))
    return sum(min(_pass(forward, nodes) for _ in range(_RUNS)) for nodes in _NODES)


def _pass(forward: Forward, nodes: int) -> float:
    ids = torch.arange(nodes)
    began = perf_counter()
    forward.run(ids, forward.committed + ids, causal_mask(nodes, ids.device))
    spent = perf_counter() - began
    forward.commit(())
    return spent


def _key(parts: DecoderParts) -> str:
    """Return what names a decoder of this size on this machine."""
    config: Any = parts.config
    sizes = [
        getattr(config, one, None)
        for one in (
            "model_type",
            "num_hidden_layers",
            "hidden_size",
            "intermediate_size",
            "num_attention_heads",
            "num_key_value_heads",
        )
    ]
    machine = attrs.asdict(Machine.of(parts.device))
    about = json.dumps([sizes, parts.facts.head_dim, str(parts.dtype), machine, version("openvino")])
    return hashlib.sha256(about.encode()).hexdigest()[:16]


def _told(seconds: Mapping[ForwardName, float]) -> str:
    return ", ".join(f"{one} {1000 * spent:.1f}" for one, spent in seconds.items())

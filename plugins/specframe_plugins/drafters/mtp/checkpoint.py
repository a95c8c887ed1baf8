"""MTP layers inside checkpoints: transformers leaves them out when it loads a model.

Two layouts. DeepSeek-V3 and GLM-4.5 store them as one more layer, ``model.layers.N`` of a model of N layers,
with ``enorm``, ``hnorm``, ``eh_proj`` and ``shared_head`` beside what every layer has. Qwen3-Next stores
``mtp.layers.0`` with ``mtp.pre_fc_norm_embedding``, ``mtp.pre_fc_norm_hidden``, ``mtp.fc`` and ``mtp.norm``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import torch
from torch import Tensor, nn

from specframe.contracts.lm_head import OutputHead
from specframe.errors import CheckpointError
from specframe.model.loading import source_of
from specframe_plugins.drafters.checkpoint_files import check_tensors, read_some
from specframe_plugins.drafters.hub import local_folder
from specframe_plugins.drafters.mtp.model import MtpForward, MtpHead

if TYPE_CHECKING:
    from specframe.model.target import Target

EMBEDDING, LM_HEAD = "embed_tokens.weight", "lm_head.weight"

# Names at the top of each layout, by what they are called here; all others are of the decoder layer.
_AS_A_LAYER: Final[Mapping[str, str]] = {
    "enorm.weight": "enorm.weight",
    "hnorm.weight": "hnorm.weight",
    "eh_proj.weight": "eh_proj.weight",
    "shared_head.norm.weight": "norm.weight",
    "shared_head.head.weight": LM_HEAD,
    "embed_tokens.weight": EMBEDDING,
}
_BESIDE: Final[Mapping[str, str]] = {
    "mtp.pre_fc_norm_embedding.weight": "enorm.weight",
    "mtp.pre_fc_norm_hidden.weight": "hnorm.weight",
    "mtp.fc.weight": "eh_proj.weight",
    "mtp.norm.weight": "norm.weight",
    "mtp.lm_head.weight": LM_HEAD,
    "mtp.embed_tokens.weight": EMBEDDING,
}
_LAYER: Final = re.compile(r"(?:model\.)?layers\.(\d+)\.(.+)")
_LAYER_BESIDE: Final = re.compile(r"mtp\.layers\.(\d+)\.(.+)")
_EXPERT: Final = re.compile(r"(.+\.experts)\.(\d+)\.(gate|up|down)_proj\.weight")
# Bounds the memory for rows that are compared.
_ROWS_AT_ONCE: Final = 4096

_log = logging.getLogger(__name__)


@attrs.frozen(eq=False)
class LoadedMtp:
    """An MTP layer on the target's device and in its dtype.

    Attributes:
        forward: runs it.
        embed_tokens: the target's embedding, or the layer's own.
        output_head: the target's LM head, or the layer's own.
        source: where it lies.
    """

    forward: MtpForward
    embed_tokens: nn.Module
    output_head: OutputHead
    source: Path


def load(checkpoint: Path | None, target: Target) -> LoadedMtp:
    """Return the MTP layer of a checkpoint; without one, of the target's own.

    Raises:
        CheckpointError: there is none, or it is incomplete, corrupt or of another kind of model.
    """
    folder = local_folder(checkpoint or Path(source_of(target.name)))
    layers = int(target.config.num_hidden_layers)
    stored = read_some(folder, lambda name: _number(name, layers) is not None)
    numbers = {number for number in (_number(name, layers) for name in stored) if number is not None}
    if not stored:
        raise CheckpointError(
            f"{folder} holds no layer for multi-token prediction; allowed: checkpoints with model.layers."
            f"{layers} or mtp.layers.0 beside the {layers} layers of {target.name}"
        )
    if len(numbers - {-1}) > 1:
        _log.warning("%s holds %d MTP layers; the first one drafts every level", folder, len(numbers - {-1}))
    tensors = _named(stored, layers, folder)
    decoder = target.model.get_decoder()
    with torch.device("meta"):
        head = MtpHead(decoder, target.config)
    embedding, lm_head = tensors.pop(EMBEDDING, None), tensors.pop(LM_HEAD, None)
    tensors = _with_experts_together(tensors, head)
    needed = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}
    check_tensors(needed, tensors, folder)
    # Buffers are numbers that transformers keeps in float32.
    kept = {name for name, _ in head.named_buffers()}
    head.load_state_dict(
        {
            name: tensor.to(target.device, torch.float32 if name in kept else target.dtype)
            for name, tensor in tensors.items()
        },
        assign=True,
    )
    forward = MtpForward(
        head.eval().requires_grad_(False),
        decoder.rotary_emb,
        target.model.config.get_text_config()._attn_implementation == "sdpa",
    )
    own_embedding = _own(embedding, target.embed_tokens, target, EMBEDDING, folder)
    own_head = _own(lm_head, target.output_head.rows, target, LM_HEAD, folder)
    output_head = target.output_head
    if own_head is not None:
        output_head = attrs.evolve(output_head, weight=own_head, bias=None, product=None)
        if target.output_head.product is not None:
            output_head = output_head.packed()
    return LoadedMtp(
        forward,
        target.embed_tokens if own_embedding is None else nn.Embedding.from_pretrained(own_embedding),
        output_head,
        folder,
    )


def _number(name: str, layers: int) -> int | None:
    """Return which MTP layer a tensor is of; -1 for one of all; None where it is of the target itself."""
    if name in _BESIDE:
        return -1
    beside = _LAYER_BESIDE.fullmatch(name)
    if beside is not None:
        return int(beside[1])
    if name.startswith("mtp."):
        return -1
    found = _LAYER.fullmatch(name)
    if found is not None and int(found[1]) >= layers:
        return int(found[1]) - layers
    return None


def _named(stored: Mapping[str, Tensor], layers: int, folder: Path) -> dict[str, Tensor]:
    """Return the first layer's tensors by the names of ``MtpHead``, embedding and LM head among them.

    Raises:
        CheckpointError: both layouts are there.
    """
    beside = any(name.startswith("mtp.") for name in stored)
    tensors: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name.startswith("mtp.") != beside:
            raise CheckpointError(f"{folder} holds {name} beside MTP layers of another layout; allowed: one")
        if _number(name, layers) not in (0, -1) or name.endswith("rotary_emb.inv_freq"):
            continue
        if beside:
            found = _LAYER_BESIDE.fullmatch(name)
            known = f"block.{found[2]}" if found is not None else _BESIDE.get(name, name)
        else:
            found = _LAYER.fullmatch(name)
            assert found is not None
            known = _AS_A_LAYER.get(found[2], f"block.{found[2]}")
        tensors[known] = tensor
    return tensors


def _with_experts_together(tensors: dict[str, Tensor], head: MtpHead) -> dict[str, Tensor]:
    """Return the tensors with those of single experts stacked, where the target's class has them so.

    One that is missing leaves the others as they are, and is then named.
    """
    names = {name for name, _ in head.named_parameters()}
    apart: dict[str, dict[tuple[int, str], Tensor]] = {}
    for name, tensor in tensors.items():
        found = _EXPERT.fullmatch(name)
        if found is not None and f"{found[1]}.gate_up_proj" in names:
            apart.setdefault(found[1], {})[int(found[2]), found[3]] = tensor
    together = dict(tensors)
    for prefix, parts in apart.items():
        count = len(head.get_parameter(f"{prefix}.gate_up_proj"))
        wanted = [(number, part) for number in range(count) for part in ("gate", "up", "down")]
        missing = [key for key in wanted if key not in parts]
        shapes = {(part, parts[number, part].shape) for number, part in wanted if (number, part) in parts}
        if missing or len(parts) != len(wanted) or len(shapes) != 3:
            number, part = missing[0] if missing else max(parts)
            raise CheckpointError(
                f"tensors {prefix.removeprefix('block.')}.* of the MTP layer do not fit {count} experts "
                f"alike, see {number}.{part}_proj; allowed: gate_proj, up_proj and down_proj of each"
            )
        for number, part in wanted:
            del together[f"{prefix}.{number}.{part}_proj.weight"]
        pairs = [torch.cat((parts[number, "gate"], parts[number, "up"])) for number in range(count)]
        together[f"{prefix}.gate_up_proj"] = torch.stack(pairs)
        together[f"{prefix}.down_proj"] = torch.stack([parts[number, "down"] for number in range(count)])
    return together


def _own(
    own: Tensor | None, rows: Callable[[Tensor], Tensor], target: Target, name: str, folder: Path
) -> Tensor | None:
    """Return a matrix [V, H] of the layer's own, None where it is the target's number by number.

    Args:
        own: as stored, or None.
        rows: returns the target's rows of ids [n] as [n, H].
        target: the target.
        name: what it is called, for errors.
        folder: of the checkpoint, for errors.
    """
    if own is None:
        return None
    shape = (target.vocab_size, target.hidden_size)
    check_tensors({name: shape}, {name: own}, folder)
    for ids in torch.arange(target.vocab_size).split(_ROWS_AT_ONCE):
        if not torch.equal(rows(ids.to(target.device)), own[ids].to(target.device, target.dtype)):
            return own.to(target.device, target.dtype)
    return None

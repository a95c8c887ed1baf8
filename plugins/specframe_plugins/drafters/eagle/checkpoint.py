"""EAGLE heads on disk: this project's layout, and the layout of the public EAGLE-2 checkpoints.

This project's: ``config.json`` with ``"format": "specframe-eagle"`` and the fields of ``EagleConfig``, and
``model.safetensors``. The public one: a Llama ``config.json`` and ``pytorch_model.bin`` or
``model.safetensors``; it says nothing about the tokenizer, so there only the sizes can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from specframe.errors import CheckpointError, UsageError
from specframe.registry.shipped import ShippedData, ShippedFile
from specframe_plugins.drafters.checkpoint_files import (
    CONFIG,
    Layout,
    filled,
    first_line,
    read_settings,
    read_tensors,
)
from specframe_plugins.drafters.eagle.model import ACTIVATIONS, EagleConfig, EagleHead

if TYPE_CHECKING:
    from specframe.model.target import Target

LAYOUT = Layout("specframe-eagle", 1, EagleConfig)

_EMBEDDING = "embed_tokens.weight"


def save_head(head: EagleHead, path: Path) -> None:
    """Write a head to the directory ``path``; raises as ``Layout.write`` does."""
    LAYOUT.write(path, head.config, head.state_dict())


def load_head(path: Path, target: Target) -> EagleHead:
    """Return the head in the directory ``path``, on the target's device and in its dtype.

    Raises:
        CheckpointError: the checkpoint is missing, corrupt, or made for another target.
    """
    settings = read_settings(path)
    tensors = read_tensors(path)
    own = LAYOUT.describes(settings)
    config: EagleConfig = LAYOUT.read(settings, path) if own else _public_config(settings, tensors, path)
    check_sizes(config, path)
    _check_target(config, tensors, path, target)
    tensors.pop(_EMBEDDING, None)
    return filled(lambda: EagleHead(config), tensors, path, target)


def load_chosen(checkpoint: Path | None, target: Target, data: ShippedData) -> tuple[EagleHead, Path]:
    """Return the head of a checkpoint, or else the one that ships for a target, and its directory.

    Raises:
        CheckpointError: the checkpoint is missing, corrupt, or made for another target.
        PluginError: a shipped head is broken, or two are for the target.
        UsageError: none was given and none ships.
    """
    if checkpoint is not None:
        return load_head(checkpoint, target), checkpoint
    file = find_head(target, data)
    return file.load(lambda path: load_head(path.parent, target)), file.path.parent


def find_head(target: Target, data: ShippedData) -> ShippedFile:
    """Return the config of the head that ships for the target's tokenizer and hidden size.

    Raises:
        PluginError: a head is broken, or two are for the target.
        UsageError: none is.
    """
    names = []

    def fits(path: Path) -> bool:
        settings = read_settings(path.parent)
        if not LAYOUT.describes(settings):
            return False
        config: EagleConfig = LAYOUT.read(settings, path.parent)
        check_sizes(config, path.parent)
        names.append(config.target_name)
        found = (config.tokenizer_fingerprint, config.hidden_size)
        return found == (target.tokenizer_fingerprint, target.hidden_size)

    file = data.find(CONFIG, fits)
    if file is None:
        raise UsageError(
            f"no EAGLE head ships for {target.name}; heads ship for: {', '.join(names) or '(none)'}; "
            "`specframe train` makes one, and the option checkpoint names it; --drafter lookup needs no head"
        )
    return file


def _public_config(settings: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> EagleConfig:
    """Return the config of a public EAGLE-2 checkpoint; the tensors say which biases there are."""
    layers = settings.get("num_hidden_layers")
    if layers != 1 or "draft_vocab_size" in settings:
        kind = "an EAGLE-3 head" if layers == 1 else f"a model of {layers} layers"
        raise CheckpointError(f"{path} holds {kind}; allowed: EAGLE-2 heads, which have one layer")
    return EagleConfig(
        vocab_size=_needed(settings, "vocab_size", path),
        fc_bias=bool(settings.get("bias", "fc.bias" in tensors)),
        attention_bias="layers.0.self_attn.q_proj.bias" in tensors,
        input_norms=False,
        output_norm=False,
        **layer_sizes(settings, path),
    )


def layer_sizes(settings: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the fields of ``EagleConfig`` that a public ``config.json`` shares with a Llama's.

    Raises:
        CheckpointError: one is missing or makes no sense, or the rotary embeddings are scaled.
    """
    rope = settings.get("rope_parameters") or settings.get("rope_scaling") or {"type": "default"}
    heads, hidden = _needed(settings, "num_attention_heads", path), _needed(settings, "hidden_size", path)
    try:
        if rope.get("rope_type", rope.get("type")) != "default":
            raise CheckpointError(f"{path / CONFIG} asks for scaled rotary embeddings {rope}; allowed: none")
        return {
            "hidden_size": hidden,
            "intermediate_size": _needed(settings, "intermediate_size", path),
            "num_attention_heads": heads,
            "num_key_value_heads": settings.get("num_key_value_heads") or heads,
            "head_dim": settings.get("head_dim") or hidden // heads,
            "rms_norm_eps": settings.get("rms_norm_eps", 1e-6),
            "rope_theta": rope.get("rope_theta", settings.get("rope_theta", 10_000.0)),
            "max_position_embeddings": settings.get("max_position_embeddings", 2048),
            "hidden_act": settings.get("hidden_act", "silu"),
        }
    except (TypeError, AttributeError, ZeroDivisionError) as error:
        raise CheckpointError(f"{path / CONFIG} does not describe a head: {first_line(error)}") from None


def _needed(settings: Mapping[str, Any], name: str, path: Path) -> Any:
    if name not in settings:
        raise CheckpointError(f"{path / CONFIG} lacks {name!r}")
    return settings[name]


def check_sizes(config: EagleConfig, path: Path) -> None:
    """Raise CheckpointError unless a head can be built from the config."""
    for name in ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "head_dim"):
        value = getattr(config, name)
        if not (isinstance(value, int) and value > 0):
            raise CheckpointError(f"{path / CONFIG} has {name} {value!r}; allowed: a positive integer")
    for name in ("rms_norm_eps", "rope_theta"):
        value = getattr(config, name)
        if not (isinstance(value, int | float) and value > 0):
            raise CheckpointError(f"{path / CONFIG} has {name} {value!r}; allowed: a positive number")
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    if not isinstance(groups, int) or groups < 1 or heads % groups:
        raise CheckpointError(
            f"{path / CONFIG} has num_key_value_heads {groups!r}; allowed: a divisor of {heads}"
        )
    if not isinstance(config.induction_groups, int) or not 0 <= config.induction_groups <= groups:
        raise CheckpointError(
            f"{path / CONFIG} has induction_groups {config.induction_groups!r}; allowed: 0 to {groups}"
        )
    if config.head_dim % 2:
        raise CheckpointError(f"{path / CONFIG} has head_dim {config.head_dim}; allowed: even")
    if config.hidden_act not in ACTIVATIONS:
        raise CheckpointError(
            f"{path / CONFIG} has hidden_act {config.hidden_act!r}; allowed: {', '.join(ACTIVATIONS)}"
        )


def _check_target(config: EagleConfig, tensors: Mapping[str, Tensor], path: Path, target: Target) -> None:
    """Raise unless the checkpoint fits the target's sizes and tokenizer."""
    vocab, hidden = target.vocab_size, target.hidden_size
    for name, needed in {"fc.weight": [hidden, 2 * hidden], _EMBEDDING: [vocab, hidden]}.items():
        if name in tensors and list(tensors[name].shape) != needed:
            raise CheckpointError(
                f"{name} is {list(tensors[name].shape)} in {path}; target {target.name} needs {needed}"
            )
    for name, needed_size in {"hidden_size": hidden, "vocab_size": vocab}.items():
        if getattr(config, name) != needed_size:
            raise CheckpointError(
                f"{name} is {getattr(config, name)} in {path}; target {target.name} has {needed_size}"
            )
    check_tokenizer(config, path, target)


def check_tokenizer(config: EagleConfig, path: Path, target: Target) -> None:
    """Raise CheckpointError where the checkpoint says it was trained with another tokenizer."""
    if config.tokenizer_fingerprint not in (None, target.tokenizer_fingerprint):
        raise CheckpointError(
            f"{path} was trained with the tokenizer of {config.target_name} "
            f"(fingerprint {config.tokenizer_fingerprint}); target {target.name} has another "
            f"(fingerprint {target.tokenizer_fingerprint})"
        )

"""EAGLE heads on disk: this project's layout, and the layout of the public EAGLE-2 checkpoints.

This project's: ``config.json`` with ``"format": "specframe-eagle"`` and the fields of ``EagleConfig``, and
``model.safetensors``. The public one: a Llama ``config.json`` and ``pytorch_model.bin`` or
``model.safetensors``; it says nothing about the tokenizer, so there only the sizes can be compared.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
import torch
from torch import Tensor

from specframe.errors import CheckpointError, UsageError
from specframe.registry.shipped import ShippedData, ShippedFile
from specframe_plugins.drafters.checkpoint_files import (
    CONFIG,
    Layout,
    filled,
    read_settings,
    read_tensors,
)
from specframe_plugins.drafters.eagle.model import (
    ACTIVATIONS,
    EagleConfig,
    EagleHead,
    half_split_order,
    rotary_frequencies,
)
from specframe_plugins.drafters.hub import local_folder
from specframe_plugins.drafters.public_config import PublicConfig, rope_fields, window_of

if TYPE_CHECKING:
    from specframe.model.target import Target

LAYOUT = Layout("specframe-eagle", 1, EagleConfig)

EMBEDDING: Final = "embed_tokens.weight"
_QUERY_BIAS: Final = "layers.0.self_attn.q_proj.bias"

Head = TypeVar("Head", bound=EagleConfig)

# Bounds the memory for embeddings that are compared.
_ROWS_AT_ONCE = 4096

_log = logging.getLogger(__name__)


def save_head(head: EagleHead, path: Path) -> None:
    """Write a head to the directory ``path``; raises as ``Layout.write`` does."""
    LAYOUT.write(path, head.config, head.state_dict())


def load_head(path: Path, target: Target) -> EagleHead:
    """Return the head in the directory, or of the hub id, ``path``, on the target's device and in its dtype.

    Raises:
        CheckpointError: the checkpoint is missing, corrupt, or made for another target.
    """
    path = local_folder(path)
    settings = read_settings(path)
    tensors = read_tensors(path)
    own = LAYOUT.describes(settings)
    config: EagleConfig = (
        LAYOUT.read(settings, path) if own else _public_config(settings, tensors, path, target)
    )
    check_sizes(config, path)
    _check_target(config, tensors, path, target)
    if not own:
        config = take_embedding(config, tensors, path, target)
        in_half_split_order(config, tensors, "layers.0.")
        warn_of_positions("EAGLE head", config, target)
    left = without_frequencies(config, tensors, path)
    return filled(lambda: EagleHead(config), left, path, target)


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
            f"no EAGLE head ships for {target.name}; heads ship for: "
            f"{', '.join(names) or '(none; the package specframe-heads has those of the demo models)'}; "
            "`specframe train` makes one, and the option checkpoint names it; --drafter lookup needs no head"
        )
    return file


def _public_config(
    settings: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path, target: Target
) -> EagleConfig:
    """Return the config of a public EAGLE-2 checkpoint; the tensors say which biases there are."""
    layers = settings.get("num_hidden_layers")
    if layers != 1 or "draft_vocab_size" in settings:
        kind = "an EAGLE-3 head" if layers == 1 else f"a model of {layers} layers"
        raise CheckpointError(f"{path} holds {kind}; allowed: EAGLE-2 heads, which have one layer")
    public = PublicConfig(settings, path)
    fields = layer_fields(public, target)
    vocab_size = public.integer("vocab_size")
    public.flag("tie_word_embeddings", False)  # the LM head is the target's
    check_bias(public, "bias", "fc.bias", tensors)
    check_bias(public, "attention_bias", _QUERY_BIAS, tensors)
    public.refuse_the_rest()
    return EagleConfig(
        vocab_size=vocab_size,
        fc_bias="fc.bias" in tensors,
        attention_bias=_QUERY_BIAS in tensors,
        input_norms=False,
        output_norm=False,
        own_embedding=EMBEDDING in tensors,
        **fields,
    )


def layer_fields(public: PublicConfig, target: Target) -> dict[str, Any]:
    """Return the fields of ``EagleConfig`` that a public ``config.json`` shares with a Llama's.

    One that does not say for how many positions the head was trained counts as trained for the target's.

    Raises:
        CheckpointError: one is missing or makes no sense.
    """
    heads, hidden = public.integer("num_attention_heads"), public.integer("hidden_size")
    return {
        "hidden_size": hidden,
        "intermediate_size": public.integer("intermediate_size"),
        "num_attention_heads": heads,
        "num_key_value_heads": public.integer("num_key_value_heads", heads),
        "head_dim": public.integer("head_dim", hidden // heads),
        "rms_norm_eps": public.number("rms_norm_eps", 1e-6),
        "max_position_embeddings": public.integer("max_position_embeddings", target.max_positions),
        "hidden_act": public.text("hidden_act", "silu"),
        "sliding_window": window_of(public),
        **rope_fields(public),
    }


def check_bias(public: PublicConfig, key: str, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError where a config says otherwise than the tensors whether there is a bias.

    Args:
        public: the config.
        key: what it is called there.
        name: the tensor.
        tensors: of the checkpoint.
    """
    there = name in tensors
    if public.flag(key, there) != there:
        raise CheckpointError(
            f"{public.path / CONFIG} has {key} {str(not there).lower()}, and the checkpoint "
            f"{'has' if there else 'lacks'} {name}; allowed: both or neither"
        )


def in_half_split_order(config: EagleConfig, tensors: dict[str, Tensor], prefix: str) -> None:
    """Bring the rows of a public checkpoint's queries and keys into the order of ``EagleConfig``.

    Args:
        config: of the head.
        tensors: of the head; changed.
        prefix: of the layer's names.
    """
    if config.rotary_dim == config.head_dim:
        return
    order = half_split_order(config.head_dim, config.rotary_dim)
    for name in (f"{prefix}self_attn.{x}_proj.{kind}" for x in "qk" for kind in ("weight", "bias")):
        tensor = tensors.get(name)
        if tensor is not None and tensor.dim() and not len(tensor) % config.head_dim:
            tensors[name] = tensor.unflatten(0, (-1, config.head_dim))[:, order].flatten(0, 1)


def take_embedding(config: Head, tensors: dict[str, Tensor], path: Path, target: Target) -> Head:
    """Return the config of a public head without an embedding that is the target's own.

    The tensor is dropped from ``tensors`` then. An embedding that the target scales is kept: the head's is
    read as it is.

    Raises:
        CheckpointError: it is of another shape than the config says, or of no floating type.
    """
    if not config.own_embedding:
        return config
    own, needed = tensors[EMBEDDING], [config.vocab_size, config.hidden_size]
    if list(own.shape) != needed:
        raise CheckpointError(
            f"{EMBEDDING} is {list(own.shape)} in {path}; its {CONFIG} says {needed}, and target "
            f"{target.name} has {[target.vocab_size, target.hidden_size]}"
        )
    if config.hidden_size != target.hidden_size or target.embedding_scale != 1.0:
        return config
    ids = torch.arange(config.vocab_size, device=target.device)
    for part in ids.split(_ROWS_AT_ONCE):
        if not torch.equal(target.embed_tokens(part), own[part.cpu()].to(target.device, target.dtype)):
            return config
    del tensors[EMBEDDING]
    return attrs.evolve(config, own_embedding=False)


def without_frequencies(config: EagleConfig, tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors without the frequencies that old checkpoints store beside what they follow from.

    Raises:
        CheckpointError: they are not those of the config.
    """
    left = dict(tensors)
    for name in [name for name in tensors if name.endswith("rotary_emb.inv_freq")]:
        stored, (expected, _) = left.pop(name), rotary_frequencies(config, torch.device("cpu"))
        # As precise as bfloat16.
        if stored.shape != expected.shape or not torch.allclose(stored.float(), expected, rtol=1e-2):
            raise CheckpointError(
                f"{name} in {path} are not the frequencies that its {CONFIG} says; allowed: those, or none"
            )
    return left


def warn_of_positions(subject: str, config: EagleConfig, target: Target) -> None:
    """Log a warning where a target has positions that a head was not trained for."""
    if config.max_position_embeddings < target.max_positions:
        _log.warning(
            "%s was trained for %d positions and %s has %d: it drafts worse beyond its own",
            subject,
            config.max_position_embeddings,
            target.name,
            target.max_positions,
        )


def check_sizes(config: EagleConfig, path: Path) -> None:
    """Raise CheckpointError unless a head can be built from the config."""
    for name in ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "head_dim"):
        value = getattr(config, name)
        if not (type(value) is int and 0 < value < 2**31):
            raise CheckpointError(f"{path / CONFIG} has {name} {value!r}; allowed: a positive integer")
    if not (type(config.max_position_embeddings) is int and config.max_position_embeddings > 0):
        raise CheckpointError(
            f"{path / CONFIG} has max_position_embeddings {config.max_position_embeddings!r}; allowed: a "
            "positive integer"
        )
    for field in attrs.fields(type(config)):
        value = getattr(config, field.name)
        if field.type in (bool, "bool") and not isinstance(value, bool):
            raise CheckpointError(f"{path / CONFIG} has {field.name} {value!r}; allowed: true or false")
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
    if config.head_dim % 2 or config.rotary_dim % 2 or not config.rotary_dim:
        raise CheckpointError(
            f"{path / CONFIG} has head_dim {config.head_dim}, of which {config.rotary_dim} are rotated; "
            "allowed: even numbers"
        )
    if config.hidden_act not in ACTIVATIONS:
        raise CheckpointError(
            f"{path / CONFIG} has hidden_act {config.hidden_act!r}; allowed: {', '.join(ACTIVATIONS)}"
        )


def _check_target(config: EagleConfig, tensors: Mapping[str, Tensor], path: Path, target: Target) -> None:
    """Raise unless the checkpoint fits the target's sizes and tokenizer."""
    vocab, hidden = target.vocab_size, target.hidden_size
    for name, needed in {"fc.weight": [hidden, 2 * hidden], EMBEDDING: [vocab, hidden]}.items():
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

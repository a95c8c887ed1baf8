"""EAGLE-3 heads on disk: this project's layout, and the layouts of the public checkpoints.

Public ones have ``midlayer.*`` or ``layers.0.*``, an LM head of ``draft_vocab_size`` rows, and for a
draft vocabulary ``d2t``, the offset of each row's token id from the row, and ``t2d``, which tokens have a
row. Those of the speculators format keep the sizes of the layer in ``transformer_layer_config``. None says
anything about the tokenizer, so there only sizes and maps can be checked, and predictions probed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import torch
from torch import Tensor, nn

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.row_map import RowMap
from specframe.errors import CheckpointError
from specframe_plugins.drafters.checkpoint_files import (
    CONFIG,
    Layout,
    filled,
    read_settings,
    read_tensors,
)
from specframe_plugins.drafters.eagle.checkpoint import (
    EMBEDDING,
    check_bias,
    check_sizes,
    check_tokenizer,
    in_half_split_order,
    layer_fields,
    take_embedding,
    warn_of_positions,
    without_frequencies,
)
from specframe_plugins.drafters.eagle3.model import Eagle3Config, Eagle3Head, default_feature_layers
from specframe_plugins.drafters.hub import local_folder
from specframe_plugins.drafters.public_config import PublicConfig

if TYPE_CHECKING:
    from specframe.model.target import Target

LAYOUT = Layout("specframe-eagle3", 1, Eagle3Config)

_OFFSETS, _HAS_ROW, _LM_HEAD = "d2t", "t2d", "lm_head.weight"
_QUERY_BIAS: Final = "midlayer.self_attn.q_proj.bias"
_FEATURE_COUNTS: Final = ("num_aux_hidden_states", "num_aux_layers", "num_eagle_features")
_INTEGERS: Final = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)

_log = logging.getLogger(__name__)


@attrs.frozen(eq=False)
class LoadedHead:
    """An EAGLE-3 head on the target's device and in its dtype.

    Attributes:
        head: the weights.
        row_map: which token each row of its LM head stands for.
    """

    head: Eagle3Head
    row_map: RowMap

    def embed_tokens(self, target: Target) -> nn.Module:
        """Return the embedding: its own, or the target's."""
        return self.head.embed_tokens if self.head.config.own_embedding else target.embed_tokens

    def output_head(self, target: Target) -> OutputHead:
        """Return the LM head that proposes: its own, or the target's."""
        if not self.head.config.own_lm_head:
            return target.output_head
        own = OutputHead(self.head.lm_head.weight, row_map=self.row_map)
        return own if target.output_head.product is None else own.packed()


def save_head(head: Eagle3Head, token_ids: Tensor | None, path: Path) -> None:
    """Write a head to the directory ``path``, complete or not at all.

    Args:
        head: what to write.
        token_ids: token of each row of its LM head [rows] int64, ascending; None when row i is token i.
        path: a head that is there already is replaced.

    Raises:
        UsageError: ``path`` exists and is something else than a head of this project.
    """
    tensors = dict(head.state_dict())
    if token_ids is not None:
        has_row = torch.zeros(head.config.vocab_size, dtype=torch.bool)
        has_row[token_ids] = True
        tensors |= {_OFFSETS: token_ids - torch.arange(len(token_ids)), _HAS_ROW: has_row}
    LAYOUT.write(path, head.config, tensors)


def load_head(path: Path, target: Target) -> LoadedHead:
    """Return the head in the directory, or of the hub id, ``path`` for a target.

    Raises:
        CheckpointError: the checkpoint is missing, corrupt, made for another target, or has something that is
            not computed here.
    """
    path = local_folder(path)
    settings = read_settings(path)
    tensors = named_tensors(path)
    own = LAYOUT.describes(settings)
    config: Eagle3Config = (
        LAYOUT.read(settings, path) if own else _public_config(settings, tensors, path, target)
    )
    check_sizes(config, path)
    if not own:
        config = take_embedding(config, tensors, path, target)
        in_half_split_order(config, tensors, "midlayer.")
    _check_target(config, path, target)
    if not own:
        warn_of_positions("EAGLE-3 head", config, target)
    offsets, has_row = tensors.pop(_OFFSETS, None), tensors.pop(_HAS_ROW, None)
    token_ids = _token_ids(config, offsets, has_row, path)
    left = without_frequencies(config, tensors, path)
    head = filled(lambda: Eagle3Head(config), left, path, target)
    if token_ids is None:
        return LoadedHead(head, RowMap(target.vocab_size))
    return LoadedHead(head, RowMap.of(token_ids.to(target.device), target.vocab_size))


def named_tensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a checkpoint by the names of this project's layout, maps included.

    Raises:
        CheckpointError: a file is missing or corrupt, or one tensor is there under two names.
    """
    tensors: dict[str, Tensor] = {}
    names: dict[str, str] = {}
    for name, tensor in read_tensors(path).items():
        canonical = _canonical(name)
        if canonical in tensors:
            raise CheckpointError(
                f"{path} has both {names[canonical]} and {name}, which are one tensor; allowed: one of them"
            )
        tensors[canonical], names[canonical] = tensor, name
    return tensors


def _canonical(name: str) -> str:
    """Return the name of a tensor in the layout that calls the layer ``midlayer``."""
    name = name.removeprefix("model.")
    return "midlayer." + name.removeprefix("layers.0.") if name.startswith("layers.0.") else name


def _public_config(
    settings: Mapping[str, Any], tensors: dict[str, Tensor], path: Path, target: Target
) -> Eagle3Config:
    """Return the config of a public checkpoint; what it leaves out follows from tensors and target.

    Keys mean what they mean to vLLM and SGLang. A norm that the config does not speak of is there where its
    weights are.
    """
    public = PublicConfig(settings, path, sections=("transformer_layer_config", "eagle_config"))
    if public.integer("num_hidden_layers", 1) != 1:
        raise CheckpointError(
            f"{path} holds {public.get('num_hidden_layers')} layers; allowed: EAGLE-3 heads, of one"
        )
    fields = layer_fields(public, target)
    vocab_size = _vocab_size(public, tensors)
    draft_vocab_size = public.integer("draft_vocab_size", vocab_size)
    layers = _feature_layers(public, target)
    target_hidden_size = public.integer("target_hidden_size", target.hidden_size)
    if not layers and fields["hidden_size"] != target_hidden_size:
        raise CheckpointError(
            f"{path / CONFIG} has use_aux_hidden_state false, and hidden_size {fields['hidden_size']}; "
            f"allowed: the {target_hidden_size} of the target"
        )
    check_bias(public, "bias", "fc.bias", tensors)
    check_bias(public, "attention_bias", _QUERY_BIAS, tensors)
    # vLLM takes speculators checkpoints that do not say it as normed before.
    speculators = "speculators_model_type" in public
    config = Eagle3Config(
        vocab_size=vocab_size,
        fc_bias="fc.bias" in tensors,
        attention_bias=_QUERY_BIAS in tensors,
        target_hidden_size=target_hidden_size,
        draft_vocab_size=draft_vocab_size,
        feature_layers=layers,
        norm_before_residual=public.flag("norm_before_residual", speculators),
        norm_before_fc=public.flag("norm_before_fc", "input_norm.weight" in tensors),
        fc_norm=public.flag("fc_norm", any(name.startswith("fc_norm.") for name in tensors)),
        norm_output=public.flag("norm_output", False),
        own_embedding=EMBEDDING in tensors,
        own_lm_head=_lm_head(public, tensors, target, draft_vocab_size == vocab_size),
        **fields,
    )
    public.refuse_the_rest()
    return config


def _vocab_size(public: PublicConfig, tensors: Mapping[str, Tensor]) -> int:
    """Return how many tokens there are, by ``t2d`` and by the config.

    Raises:
        CheckpointError: they contradict each other, or neither says it.
    """
    has_row = tensors.get(_HAS_ROW)
    if has_row is None:
        return int(public.integer("vocab_size"))
    if has_row.dim() != 1:
        raise CheckpointError(f"{_HAS_ROW} is {list(has_row.shape)} in {public.path}; allowed: [vocabulary]")
    named = public.integer("vocab_size", len(has_row))
    if named != len(has_row):
        raise CheckpointError(
            f"vocab_size is {len(has_row)} by {_HAS_ROW} of {public.path}, and {named} in its {CONFIG}; "
            "allowed: one"
        )
    return len(has_row)


def _lm_head(public: PublicConfig, tensors: dict[str, Tensor], target: Target, full: bool) -> bool:
    """Return whether the head has an LM head of its own; one that is tied to its embedding is added.

    Raises:
        CheckpointError: it has none and the target's cannot stand in for it.
    """
    tied = public.flag("tie_word_embeddings", False)
    if _LM_HEAD in tensors:
        return True
    if not full:
        raise CheckpointError(
            f"{public.path} has a draft vocabulary and no tensor {_LM_HEAD}; allowed: both, or all "
            f"{target.vocab_size} rows, for which the target's stands in"
        )
    if tied and EMBEDDING in tensors:
        tensors[_LM_HEAD] = tensors[EMBEDDING]
        return True
    if tied and not getattr(target.config, "tie_word_embeddings", False):
        raise CheckpointError(
            f"{public.path / CONFIG} has tie_word_embeddings true, and the checkpoint neither {EMBEDDING} "
            f"nor {_LM_HEAD}; allowed: one of them, or false for the target's LM head"
        )
    return False


def _feature_layers(public: PublicConfig, target: Target) -> tuple[int, ...]:
    """Return the layers that the config names, or the usual ones; none where the target's output is read.

    Raises:
        CheckpointError: the keys contradict each other, or name no layers.
    """
    named = public.get("eagle_aux_hidden_state_layer_ids")
    counts = [public.integer(name, None) for name in _FEATURE_COUNTS]
    if not public.flag("use_aux_hidden_state", True):
        return ()
    usual = default_feature_layers(target.config.num_hidden_layers)
    layers = usual
    if named is not None and named != []:
        if not isinstance(named, list) or any(type(layer) is not int for layer in named):
            raise public.refusal("eagle_aux_hidden_state_layer_ids", named, "a list of layers")
        layers = tuple(named)
    for name, count in zip(_FEATURE_COUNTS, counts, strict=True):
        if count not in (None, len(layers)):
            raise public.refusal(name, count, f"{len(layers)}, for features of layers {_listed(layers)}")
    if not named:
        _log.warning(
            "%s does not say which layers its features are of; taken: %s, as usual",
            public.path,
            _listed(usual),
        )
    elif list(layers) != sorted(layers):
        # vLLM and SGLang collect them on the way through the layers, so their order is that of the layers.
        raise public.refusal("eagle_aux_hidden_state_layer_ids", list(layers), f"ascending, {sorted(layers)}")
    elif layers in [tuple(layer + by for layer in usual) for by in (-1, 1)]:
        _log.warning(
            "%s reads the inputs of layers %s, one beside the usual %s: a head that counts outputs of layers "
            "means the usual ones",
            public.path,
            _listed(layers),
            _listed(usual),
        )
    if len(set(layers)) < len(layers):
        _log.warning("%s reads one layer twice: %s", public.path, _listed(layers))
    return layers


def _listed(layers: tuple[int, ...]) -> str:
    return ", ".join(map(str, layers))


def _check_target(config: Eagle3Config, path: Path, target: Target) -> None:
    """Raise unless the head fits the target's sizes and tokenizer."""
    for name, found, needed in (
        ("target_hidden_size", config.target_hidden_size, target.hidden_size),
        ("vocab_size", config.vocab_size, target.vocab_size),
    ):
        if found != needed:
            raise CheckpointError(f"{name} is {found} in {path}; target {target.name} has {needed}")
    layers = target.config.num_hidden_layers
    for layer in config.feature_layers:
        if not (isinstance(layer, int) and 0 <= layer <= layers):
            raise CheckpointError(
                f"{path} wants features of layer {layer!r}; target {target.name} has layers 0 to {layers}"
            )
    if config.hidden_size != target.hidden_size and not config.own_embedding:
        raise CheckpointError(
            f"{path} has hidden size {config.hidden_size} and no {EMBEDDING}; allowed: an embedding of its "
            f"own, or the {target.hidden_size} of target {target.name}"
        )
    check_tokenizer(config, path, target)


def _token_ids(
    config: Eagle3Config, offsets: Tensor | None, has_row: Tensor | None, path: Path
) -> Tensor | None:
    """Return the token of each row [rows] int64 from ``d2t`` and ``t2d``; None when row i is token i.

    A wrong map is accepted by nobody's shapes and then has about one token in a hundred accepted. So the two
    maps must be inverse to each other.
    """
    rows, vocab_size = config.draft_vocab_size, config.vocab_size
    if offsets is None:
        if rows != vocab_size:
            raise CheckpointError(
                f"{path} has {rows} rows in its LM head and no {_OFFSETS}; allowed: {_OFFSETS}, or all "
                f"{vocab_size} rows"
            )
        offsets = torch.zeros(rows, dtype=torch.int64)
    if offsets.shape != (rows,) or offsets.dtype not in _INTEGERS:
        raise CheckpointError(
            f"{_OFFSETS} is {offsets.dtype} {list(offsets.shape)} in {path}; allowed: integers [{rows}]"
        )
    token_ids = torch.arange(rows) + offsets.long()
    outside = token_ids[(token_ids < 0) | (token_ids >= vocab_size)]
    if len(outside):
        raise CheckpointError(
            f"{_OFFSETS} in {path} leads to token id {int(outside[0])}; allowed: 0 to {vocab_size - 1}"
        )
    repeated, counts = token_ids.unique(return_counts=True)
    if len(repeated) != rows:
        raise CheckpointError(
            f"{_OFFSETS} in {path} leads to token id {int(repeated[counts > 1][0])} from several rows; "
            "allowed: from one"
        )
    if has_row is not None:
        if has_row.shape != (vocab_size,) or has_row.dtype not in (torch.bool, *_INTEGERS):
            raise CheckpointError(
                f"{_HAS_ROW} is {has_row.dtype} {list(has_row.shape)} in {path}; allowed: truth values "
                f"[{vocab_size}]"
            )
        claimed = has_row.bool().nonzero()[:, 0]
        if not torch.equal(claimed, repeated):
            raise CheckpointError(
                f"{_HAS_ROW} in {path} names {len(claimed)} tokens, and not the {rows} that {_OFFSETS} "
                "leads to; allowed: the same ones"
            )
    return None if torch.equal(token_ids, torch.arange(vocab_size)) else token_ids

"""EAGLE-3 heads on disk: this project's layout, and the layouts of the public checkpoints.

Public ones have ``midlayer.*`` or ``layers.0.*``, an LM head of ``draft_vocab_size`` rows, and for a
draft vocabulary ``d2t``, the offset of each row's token id from the row, and ``t2d``, which tokens have a
row. Those of the speculators format keep the sizes of the layer in ``transformer_layer_config``. None says
anything about the tokenizer, so there only sizes and maps can be checked, and predictions probed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    first_line,
    read_settings,
    read_tensors,
)
from specframe_plugins.drafters.eagle.checkpoint import check_sizes, check_tokenizer, layer_sizes
from specframe_plugins.drafters.eagle3.model import Eagle3Config, Eagle3Head, default_feature_layers

if TYPE_CHECKING:
    from specframe.model.target import Target

LAYOUT = Layout("specframe-eagle3", 1, Eagle3Config)

EMBEDDING, _OFFSETS, _HAS_ROW = "embed_tokens.weight", "d2t", "t2d"


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
    """Return the head in the directory ``path`` for a target.

    Raises:
        CheckpointError: the checkpoint is missing, corrupt, or made for another target.
    """
    settings = read_settings(path)
    tensors = named_tensors(path)
    own = LAYOUT.describes(settings)
    config: Eagle3Config = (
        LAYOUT.read(settings, path) if own else _public_config(settings, tensors, path, target)
    )
    check_sizes(config, path)
    _check_target(config, path, target)
    offsets, has_row = tensors.pop(_OFFSETS, None), tensors.pop(_HAS_ROW, None)
    if not config.own_embedding:
        tensors.pop(EMBEDDING, None)
    token_ids = _token_ids(config, offsets, has_row, path)
    head = filled(lambda: Eagle3Head(config), tensors, path, target)
    if token_ids is None:
        return LoadedHead(head, RowMap(target.vocab_size))
    return LoadedHead(head, RowMap.of(token_ids.to(target.device), target.vocab_size))


def named_tensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a checkpoint by the names of this project's layout, maps included.

    Raises:
        CheckpointError: a file is missing or corrupt.
    """
    return {_canonical(name): tensor for name, tensor in read_tensors(path).items()}


def _canonical(name: str) -> str:
    """Return the name of a tensor in the layout that calls the layer ``midlayer``."""
    for prefix in ("layers.0.", "model.layers.0."):
        if name.startswith(prefix):
            return "midlayer." + name.removeprefix(prefix)
    return name.removeprefix("model.")


def _public_config(
    settings: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path, target: Target
) -> Eagle3Config:
    """Return the config of a public checkpoint; what it leaves out follows from tensors and target."""
    layer = {**settings, **(settings.get("transformer_layer_config") or {})}
    if layer.get("num_hidden_layers", 1) != 1:
        raise CheckpointError(
            f"{path} holds {layer['num_hidden_layers']} layers; allowed: EAGLE-3 heads, of one"
        )
    sizes = layer_sizes(layer, path)
    vocab_size = len(tensors[_HAS_ROW]) if _HAS_ROW in tensors else int(layer.get("vocab_size") or 0)
    try:
        return Eagle3Config(
            vocab_size=vocab_size,
            fc_bias="fc.bias" in tensors,
            attention_bias="midlayer.self_attn.q_proj.bias" in tensors,
            target_hidden_size=settings.get("target_hidden_size") or target.hidden_size,
            draft_vocab_size=settings.get("draft_vocab_size") or vocab_size,
            feature_layers=_feature_layers(settings, target),
            norm_before_residual=bool(settings.get("norm_before_residual", False)),
            # An embedding of the target's width is the target's own, which is there already.
            own_embedding=EMBEDDING in tensors and sizes["hidden_size"] != target.hidden_size,
            **sizes,
        )
    except (TypeError, AttributeError) as error:
        raise CheckpointError(f"{path / CONFIG} does not describe a head: {first_line(error)}") from None


def _feature_layers(settings: Mapping[str, Any], target: Target) -> tuple[int, ...]:
    """Return the layers that the config names, or the usual ones."""
    nested = settings.get("eagle_config") or {}
    key = "eagle_aux_hidden_state_layer_ids"
    named = settings.get(key) or nested.get(key)
    return tuple(named) if named else default_feature_layers(target.config.num_hidden_layers)


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
        return None
    if offsets.shape != (rows,) or offsets.is_floating_point():
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
        if has_row.shape != (vocab_size,):
            raise CheckpointError(f"{_HAS_ROW} is {list(has_row.shape)} in {path}; allowed: [{vocab_size}]")
        claimed = has_row.bool().nonzero()[:, 0]
        if not torch.equal(claimed, repeated):
            raise CheckpointError(
                f"{_HAS_ROW} in {path} names {len(claimed)} tokens, and not the {rows} that {_OFFSETS} "
                "leads to; allowed: the same ones"
            )
    return token_ids

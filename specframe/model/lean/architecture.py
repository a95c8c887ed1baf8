"""Which decoders the lean forward computes, and how their modules map to its parts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import torch.nn.functional as F
from torch import Tensor, nn

from specframe.model.dense_head import is_plain
from specframe.model.lean.rotary import TABULATED_TYPES

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
}


@attrs.frozen(slots=True)
class Family:
    """What decoders of one model type call their norms, and how they apply them.

    Attributes:
        before_attention: norm of the attention's input.
        after_attention: norm of its output, before it is added; None for none.
        before_mlp: norm of the MLP's input.
        after_mlp: norm of its output, before it is added; None for none.
        norm_offset: added to the weights of every norm.
    """

    before_attention: str = "input_layernorm"
    after_attention: str | None = None
    before_mlp: str = "post_attention_layernorm"
    after_mlp: str | None = None
    norm_offset: float = 0.0

    @property
    def norms(self) -> tuple[str, ...]:
        """The norms that a layer has."""
        names = (self.before_attention, self.after_attention, self.before_mlp, self.after_mlp)
        return tuple(name for name in names if name is not None)


_PRE_NORM = Family()
_FOUR_NORMS = Family(
    after_attention="post_attention_layernorm",
    before_mlp="pre_feedforward_layernorm",
    after_mlp="post_feedforward_layernorm",
    norm_offset=1.0,
)
FAMILIES = {
    "llama": _PRE_NORM,
    "mistral": _PRE_NORM,
    "qwen2": _PRE_NORM,
    "qwen3": _PRE_NORM,
    "gemma3_text": _FOUR_NORMS,
}

_LINEARS = (
    *(f"self_attn.{name}_proj" for name in ("q", "k", "v", "o")),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
)
_HEAD_NORMS = ("self_attn.q_norm", "self_attn.k_norm")


def why_not(model: PreTrainedModel) -> str | None:
    """Return why the lean forward cannot compute a model's decoder, or None when it can.

    Whatever it does not know is a reason: the layers must consist of exactly the parameters that it reads.
    """
    config: Any = model.config.get_text_config()
    decoder: Any = model.get_decoder()
    family = FAMILIES.get(config.model_type)
    if family is None:
        return f"model type {config.model_type!r} is not among {', '.join(FAMILIES)}"
    if activation(config) not in ACTIVATIONS:
        return f"activation {activation(config)!r} is not among {', '.join(ACTIVATIONS)}"
    if getattr(config, "attn_logit_softcapping", None):
        return "its attention scores are soft-capped"
    if getattr(config, "use_bidirectional_attention", False):
        return "its attention is not causal"
    odd = next((name for name, weight in decoder.named_parameters() if not is_plain(weight)), None)
    if odd is not None:
        return f"its weight {odd} is quantized"
    if len({parameter.device for parameter in decoder.parameters()}) > 1:
        return "its layers are on several devices"
    rope_type = decoder.rotary_emb.rope_type
    for name in rope_type.values() if isinstance(rope_type, dict) else (rope_type,):
        if name not in TABULATED_TYPES:
            return f"rotary embedding {name!r} is not among {', '.join(TABULATED_TYPES)}"
    for index, layer in enumerate(decoder.layers):
        reason = _strange_part(layer, family)
        if reason is not None:
            return f"layer {index} {reason}"
    attentions = {(layer.self_attn.head_dim, layer.self_attn.scaling) for layer in decoder.layers}
    if len(attentions) > 1:
        return "its layers differ in the size of their heads or the factor on their scores"
    return None


def strange_names(names: Collection[str], config: Any) -> str | None:
    """Return what is unknown about a decoder that has weights of these names, or None.

    Args:
        names: of its weights.
        config: of the model's text part.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        return f"model type {config.model_type!r} is not among {', '.join(FAMILIES)}"
    left = set(names) - {"embed_tokens.weight", "norm.weight"}
    if len(names) - len(left) != 2:
        return "it has no embedding or no last norm"
    for index in range(config.num_hidden_layers):
        prefix = f"layers.{index}."
        own = {name.removeprefix(prefix) for name in left if name.startswith(prefix)}
        left -= {prefix + name for name in own}
        reason = _strange_names(own, family)
        if reason is not None:
            return f"layer {index} {reason}"
    return f"it has {min(left)}" if left else None


def activation(config: Any) -> str:
    """Return what the config calls the activation of the MLPs."""
    return str(getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", ""))


def _strange_part(layer: nn.Module, family: Family) -> str | None:
    reason = _strange_names({name for name, _ in layer.named_parameters()}, family)
    if reason is not None:
        return reason
    changed = [name for name in _LINEARS if type(layer.get_submodule(name)) is not nn.Linear]
    return f"has another module in place of the linear {changed[0]}" if changed else None


def _strange_names(names: set[str], family: Family) -> str | None:
    linears = {f"{name}.{part}" for name in _LINEARS for part in ("weight", "bias")}
    norms = {f"{name}.weight" for name in (*family.norms, *_HEAD_NORMS)}
    strange = sorted(names - linears - norms)
    if strange:
        return f"has {strange[0]}"
    required = {f"{name}.weight" for name in (*_LINEARS, *family.norms)}
    missing = sorted(required - names)
    return f"has no {missing[0]}" if missing else None

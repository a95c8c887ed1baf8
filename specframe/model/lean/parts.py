"""What the lean forward is built from: a decoder's weights, and the few numbers that are no weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@attrs.frozen(slots=True, kw_only=True, eq=False)
class DecoderFacts:
    """What a decoder's modules hold besides their weights.

    Attributes:
        head_dim: D.
        scaling: factor on the attention scores.
        embedding_scale: factor on the embedding's rows.
        frequencies: of the rotation per layer type: inverse frequencies [D / 2] float32, and the factor on
            cosines and sines. The key "" stands for models that have only one.
    """

    head_dim: int
    scaling: float
    embedding_scale: float
    frequencies: Mapping[str, tuple[Tensor, float]]

    @classmethod
    def of(cls, model: PreTrainedModel, kinds: tuple[str, ...]) -> DecoderFacts:
        """Read them off a model that ``architecture.why_not`` has nothing against."""
        decoder: Any = model.get_decoder()
        attention, rotary = decoder.layers[0].self_attn, decoder.rotary_emb
        per_kind = isinstance(rotary.rope_type, dict)
        prefixes = {kind: f"{kind}_" if per_kind else "" for kind in kinds}
        return cls(
            head_dim=int(attention.head_dim),
            scaling=float(attention.scaling),
            embedding_scale=embedding_scale(decoder.embed_tokens),
            frequencies={
                kind: (
                    getattr(rotary, f"{prefix}inv_freq").float(),
                    float(getattr(rotary, f"{prefix}attention_scaling")),
                )
                for kind, prefix in prefixes.items()
            },
        )


def embedding_scale(embedding: nn.Module) -> float:
    """Return the factor that an input embedding puts on its rows (Gemma)."""
    scale: Any = getattr(embedding, "embed_scale", None)
    return 1.0 if scale is None else float(scale)


class DecoderParts(Protocol):
    """A decoder taken apart."""

    config: Any  # of the model's text part
    facts: DecoderFacts
    embed: nn.Module  # ids [...] to what enters the first layer [..., H]
    dtype: torch.dtype
    device: torch.device

    def weight(self, name: str) -> Tensor | None:
        """Return a weight by its name below the decoder, or None where the model has none."""
        ...

    def taken(self) -> None:
        """Learn that the weights returned so far have been copied."""
        ...


class ModelParts:
    """The ``DecoderParts`` of a model in memory, which stays there.

    Args:
        model: the model.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        decoder: Any = model.get_decoder()
        self.config = model.config.get_text_config()
        self.facts = DecoderFacts.of(model, layer_types(self.config))
        self.embed: nn.Module = decoder.embed_tokens
        self.dtype, self.device = model.dtype, model.device
        self._weights = dict(decoder.named_parameters(remove_duplicate=False))

    def weight(self, name: str) -> Tensor | None:
        """Return a weight by its name below the decoder, or None where the model has none."""
        return self._weights.get(name)

    def taken(self) -> None:
        """Keep the model as it is."""


def layer_types(config: Any) -> tuple[str, ...]:
    """Return the types of a decoder's layers, each once; "" stands for models that have only one."""
    return tuple(dict.fromkeys(getattr(config, "layer_types", None) or [""]))

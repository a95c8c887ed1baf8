"""The decoder layer of an EAGLE head: attention, and a gated MLP with a norm before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from vllm.config import VllmConfig
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.model_loader.weight_utils import default_weight_loader
from vllm.model_executor.models.llama import LlamaMLP

from specframe_vllm.draft_head.attention import InductionAttention
from specframe_vllm.draft_head.config import SpecframeEagleConfig
from specframe_vllm.draft_head.refusals import refuse_kv_connector

# vLLM multiplies these at once: name in the checkpoint, name of the parameter, part of it.
_STACKED = (
    (".q_proj.", ".qkv_proj.", "q"),
    (".k_proj.", ".qkv_proj.", "k"),
    (".v_proj.", ".qkv_proj.", "v"),
    (".gate_proj.", ".gate_up_proj.", 0),
    (".up_proj.", ".gate_up_proj.", 1),
)


class PairLayer(nn.Module):
    """What EAGLE-2 and EAGLE-3 have in common.

    Args:
        config: of the head.
        input_size: width of what attention reads.
        vllm_config: of the engine.
        prefix: of the layer, with its number.

    Attributes:
        fills_only: it puts keys and values into the paged cache, and what it returns is of no use.
    """

    fills_only = False

    def __init__(
        self, config: SpecframeEagleConfig, input_size: int, vllm_config: VllmConfig, prefix: str
    ) -> None:
        super().__init__()
        refuse_kv_connector(config, vllm_config)
        self.self_attn = InductionAttention(
            config, input_size, vllm_config.cache_config, f"{prefix}.self_attn"
        )
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = LlamaMLP(
            config.hidden_size, config.intermediate_size, config.hidden_act, prefix=f"{prefix}.mlp"
        )

    def forward(self, positions: Tensor, residual: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
        """Return the MLP's output and the residual to add to it, both [n, H].

        Args:
            positions: [n].
            residual: where the residual starts [n, H].
            read: what attention reads [n, input size].
        """
        gathered = self.self_attn(positions, read, not self.fills_only)
        if self.fills_only:
            return residual, residual
        hidden, residual = self.post_attention_layernorm(gathered, residual)
        return self.mlp(hidden), residual


@contextmanager
def filling_only(model: nn.Module) -> Iterator[None]:
    """Let the layers of a draft model do no more than the paged cache needs: nobody drafts from them."""
    layers = [module for module in model.modules() if isinstance(module, PairLayer)]
    for layer in layers:
        layer.fills_only = True
    try:
        yield
    finally:
        for layer in layers:
            layer.fills_only = False


def load_parameters(module: nn.Module, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
    """Load tensors by the names of specframe's layout; return the names of the parameters they went to.

    Raises:
        ValueError: the module has no place for a tensor.
    """
    parameters, loaded = dict(module.named_parameters()), set()
    for name, tensor in weights:
        part: tuple[str | int, ...] = ()
        target = name
        for stored, stacked, shard in _STACKED:
            if stored in name:
                target, part = name.replace(stored, stacked), (shard,)
        if target not in parameters:
            raise ValueError(f"the draft head has no place for tensor {name!r}; export the head again")
        parameter = parameters[target]
        load = getattr(parameter, "weight_loader", default_weight_loader)
        load(parameter, tensor, *part)
        loaded.add(target)
    return loaded


def scaled(embeddings: Tensor, scale: float) -> Tensor:
    """Return embeddings [n, H] as the target scales them, in their own dtype."""
    if scale == 1.0:
        return embeddings
    return embeddings * torch.tensor(scale, dtype=embeddings.dtype)

"""The attention of an EAGLE head: grouped queries, rotary positions, and induction heads among them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from vllm.config import CacheConfig
from vllm.distributed import get_tensor_model_parallel_rank, get_tensor_model_parallel_world_size
from vllm.forward_context import get_forward_context
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.layers.linear import QKVParallelLinear, RowParallelLinear
from vllm.model_executor.layers.rotary_embedding import get_rope

from specframe_vllm.draft_head.config import SpecframeEagleConfig
from specframe_vllm.draft_head.earlier_keys import EarlierKeys

# Attention backends of vLLM whose metadata have the fields of ``Placement``.
PLACING_BACKENDS = ("CPU_ATTN", "FLASH_ATTN", "TRITON_ATTN")


class InductionAttention(nn.Module):
    """Attention whose last key and value heads may be induction heads.

    Their queries and keys are not rotated, and their keys are those of the position before, zeros at position
    0. Heads are split among ranks in order, so the induction heads are on the last ones.

    Args:
        config: of the head.
        input_size: width of what it reads; its output has the head's hidden size.
        cache_config: of the paged cache.
        prefix: of the layer, with its number.

    Raises:
        ValueError: the attention backend does not say where tokens stand.
    """

    def __init__(
        self, config: SpecframeEagleConfig, input_size: int, cache_config: CacheConfig | None, prefix: str
    ) -> None:
        super().__init__()
        ranks, rank = get_tensor_model_parallel_world_size(), get_tensor_model_parallel_rank()
        heads, groups, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.qkv_proj = QKVParallelLinear(
            input_size, width, heads, groups, bias=config.attention_bias, prefix=f"{prefix}.qkv_proj"
        )
        self.o_proj = RowParallelLinear(
            heads * width, config.hidden_size, bias=False, prefix=f"{prefix}.o_proj"
        )
        self.rotary_emb = get_rope(
            width,
            max_position=config.max_position_embeddings,
            rope_parameters=config.rope_parameters,
            is_neox_style=True,
        )
        own_heads, own_groups = heads // ranks, max(1, groups // ranks)
        ordinary = groups - config.induction_groups - rank * groups // ranks
        ordinary = min(max(ordinary, 0), own_groups)
        self.attn = _PagedAttention(
            own_heads,
            width,
            width**-0.5,
            num_kv_heads=own_groups,
            cache_config=cache_config,
            prefix=f"{prefix}.attn",
        )
        self._query_size, self._key_size = own_heads * width, own_groups * width
        self._rotated_queries, self._rotated_keys = (
            own_heads // own_groups * ordinary * width,
            ordinary * width,
        )
        if ordinary < own_groups:
            backend = self.attn.attn_backend.get_name()
            if backend not in PLACING_BACKENDS:
                raise ValueError(
                    f"attention backend {backend} does not say where tokens stand, which induction heads "
                    f"need; allowed for the drafter: {', '.join(PLACING_BACKENDS)} (attention_backend in the "
                    "speculative config)"
                )
            self.attn.earlier = EarlierKeys(self._key_size - self._rotated_keys, self.attn.dtype)

    def forward(self, positions: Tensor, hidden: Tensor, projected: bool = True) -> Tensor:
        """Return what each token gathers, for inputs [n, input size] at positions [n].

        It is [n, H], or [n, heads x width] where it is not ``projected``.
        """
        qkv, _ = self.qkv_proj(hidden)
        query, key, value = qkv.split([self._query_size, self._key_size, self._key_size], dim=-1)
        if self.attn.earlier is None:
            query, key = self.rotary_emb(positions, query, key)
        else:
            query, key = self._with_induction(positions, query, key)
        gathered: Tensor = self.attn(query, key, value)
        return self.o_proj(gathered)[0] if projected else gathered

    def _with_induction(self, positions: Tensor, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries, the first rotated, and keys, the last ones of the position before."""
        first_query, last_query = query.split(
            [self._rotated_queries, self._query_size - self._rotated_queries], dim=-1
        )
        first_key, last_key = key.split([self._rotated_keys, self._key_size - self._rotated_keys], dim=-1)
        if self._rotated_keys:
            first_query, first_key = self.rotary_emb(
                positions, first_query.contiguous(), first_key.contiguous()
            )
        return torch.cat((first_query, last_query), dim=-1), torch.cat(
            (first_key, self.attn.keys_before(last_key, positions)), dim=-1
        )


class _PagedAttention(Attention):
    """vLLM's attention, with a buffer for induction heads that is made when the paged cache is.

    Attributes:
        earlier: the buffer; None without induction heads.
    """

    earlier: EarlierKeys | None = None

    def bind_kv_cache(self, kv_cache: Tensor) -> None:
        """Take the paged cache [blocks, groups, tokens of a block, content], as vLLM says it is allocated."""
        super().bind_kv_cache(kv_cache)
        if self.earlier is not None:
            self.earlier.allocate(kv_cache.shape[0], kv_cache.shape[2], kv_cache.device)

    def keys_before(self, keys: Tensor, positions: Tensor) -> Tensor:
        """Return the keys of the positions before [n, W]; while vLLM measures memory there are none yet."""
        metadata = get_forward_context().attn_metadata
        if self.earlier is None or self.earlier.rows is None or not metadata:
            return keys
        return self.earlier.shift(keys, positions, metadata[self.layer_name])

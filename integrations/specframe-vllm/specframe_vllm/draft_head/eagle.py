"""EAGLE-2 heads as draft models of vLLM: fc over embedding and feature, one layer, an output norm."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from vllm.config import VllmConfig
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.linear import ReplicatedLinear
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
from vllm.model_executor.models.llama_eagle import EagleLlamaForCausalLM
from vllm.model_executor.models.utils import maybe_prefix

from specframe_vllm.draft_head.config import SpecframeEagleConfig
from specframe_vllm.draft_head.layer import PairLayer, load_parameters, scaled


class _EagleModel(nn.Module):
    """The head without its LM head; vLLM puts the target's embedding in the place of ``embed_tokens``."""

    def __init__(
        self, config: SpecframeEagleConfig, vllm_config: VllmConfig, number: int, prefix: str
    ) -> None:
        super().__init__()
        hidden, eps = config.hidden_size, config.rms_norm_eps
        self._scale, self._input_norms, self._output_norm = (
            config.embedding_scale,
            config.input_norms,
            config.output_norm,
        )
        self.embed_tokens = VocabParallelEmbedding(
            config.vocab_size, hidden, prefix=maybe_prefix(prefix, "embed_tokens")
        )
        if self._input_norms:
            self.embedding_norm, self.feature_norm = RMSNorm(hidden, eps), RMSNorm(hidden, eps)
        self.fc = ReplicatedLinear(
            2 * hidden,
            hidden,
            bias=config.fc_bias,
            params_dtype=vllm_config.model_config.dtype,
            prefix=maybe_prefix(prefix, "fc"),
            return_bias=False,
        )
        layer = PairLayer(config, hidden, vllm_config, maybe_prefix(prefix, f"layers.{number}"))
        self.layers = nn.ModuleList([layer])
        if self._output_norm:
            self.norm = RMSNorm(hidden, eps)

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        """Return embeddings [n, H] of token ids [n]."""
        return scaled(self.embed_tokens(input_ids), self._scale)

    def forward(self, input_ids: Tensor, positions: Tensor, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the predicted features [n, H] twice: the LM head reads them, and so does the next step.

        Args:
            input_ids: tokens t + 1 [n].
            positions: t [n].
            hidden_states: features of t [n, H].
        """
        embeddings = self.embed_input_ids(input_ids)
        if self._input_norms:
            embeddings, hidden_states = self.embedding_norm(embeddings), self.feature_norm(hidden_states)
        fused = self.fc(torch.cat((embeddings, hidden_states), dim=-1))
        hidden, residual = self.layers[0](positions, fused, fused)
        predicted = self.norm(hidden, residual)[0] if self._output_norm else hidden + residual
        return predicted, predicted

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Load the tensors of the head; raises as ``load_parameters`` does."""
        return load_parameters(self, weights)


class EagleSpecframeForCausalLM(EagleLlamaForCausalLM):
    """The draft model; vLLM shares embedding and LM head of the target with it.

    Args:
        vllm_config: of the engine.
        prefix: of the model's layers.
    """

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        nn.Module.__init__(self)
        config = self.config = vllm_config.speculative_config.draft_model_config.hf_config
        number = vllm_config.model_config.get_num_layers(vllm_config.parallel_config)
        self.model = _EagleModel(config, vllm_config, number, maybe_prefix(prefix, "model"))
        self.logits_processor = LogitsProcessor(
            config.vocab_size, scale=config.logit_scale, soft_cap=config.final_logit_softcapping
        )

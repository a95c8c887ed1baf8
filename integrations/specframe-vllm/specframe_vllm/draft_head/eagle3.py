"""EAGLE-3 heads as draft models of vLLM: features of several target layers, and an LM head of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from vllm.config import VllmConfig
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.linear import ReplicatedLinear
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
from vllm.model_executor.models.llama_eagle3 import Eagle3LlamaForCausalLM
from vllm.model_executor.models.utils import AutoWeightsLoader, maybe_prefix, process_eagle_weight

from specframe_vllm.draft_head.config import SpecframeEagleConfig
from specframe_vllm.draft_head.layer import PairLayer, load_parameters, scaled


class _MidLayer(PairLayer):
    """The layer, which reads normed embedding and normed feature side by side."""

    def __init__(self, config: SpecframeEagleConfig, vllm_config: VllmConfig, prefix: str) -> None:
        super().__init__(config, 2 * config.hidden_size, vllm_config, prefix)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.hidden_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self._norm_before_residual = config.norm_before_residual

    def read(self, positions: Tensor, embeddings: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return what ``forward`` does, for embeddings and features [n, H]."""
        normed = self.hidden_norm(features)
        residual = normed if self._norm_before_residual else features
        return self(positions, residual, torch.cat((self.input_layernorm(embeddings), normed), dim=-1))


class _Eagle3Model(nn.Module):
    """The head without its LM head."""

    def __init__(
        self, config: SpecframeEagleConfig, vllm_config: VllmConfig, number: int, prefix: str
    ) -> None:
        super().__init__()
        hidden, width = config.hidden_size, config.target_hidden_size or config.hidden_size
        self._scale = config.embedding_scale
        self.embed_tokens = VocabParallelEmbedding(
            config.vocab_size, hidden, prefix=maybe_prefix(prefix, "embed_tokens")
        )
        self.fc = ReplicatedLinear(
            len(config.feature_layers) * width,
            hidden,
            bias=config.fc_bias,
            params_dtype=vllm_config.model_config.dtype,
            prefix=maybe_prefix(prefix, "fc"),
            return_bias=False,
        )
        self.midlayer = _MidLayer(config, vllm_config, maybe_prefix(prefix, f"layers.{number}"))
        self.norm = RMSNorm(hidden, config.rms_norm_eps)

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        """Return embeddings [n, H] of token ids [n]."""
        return scaled(self.embed_tokens(input_ids), self._scale)

    def forward(
        self,
        input_ids: Tensor,
        positions: Tensor,
        hidden_states: Tensor,
        inputs_embeds: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return what the LM head reads, and what the next step reads, both [n, H].

        Args:
            input_ids: tokens t + 1 [n].
            positions: t [n].
            hidden_states: fused features of t, or the layer's own output [n, H].
            inputs_embeds: the embeddings, where they are known already [n, H].
        """
        embeddings = self.embed_input_ids(input_ids) if inputs_embeds is None else inputs_embeds
        hidden, residual = self.midlayer.read(positions, embeddings, hidden_states)
        return self.norm(hidden, residual)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Load the tensors of the head; raises as ``load_parameters`` does."""
        return load_parameters(self, weights)


class Eagle3SpecframeForCausalLM(Eagle3LlamaForCausalLM):
    """The draft model; what the head has not, embedding or LM head, vLLM takes from the target.

    Args:
        vllm_config: of the engine.
        prefix: of the model's layers.
    """

    use_parallel_drafting = False

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        nn.Module.__init__(self)
        config = self.config = vllm_config.speculative_config.draft_model_config.hf_config
        number = vllm_config.model_config.get_total_num_hidden_layers()
        self.model = _Eagle3Model(config, vllm_config, number, maybe_prefix(prefix, "model"))
        self.lm_head = ParallelLMHead(
            config.draft_vocab_size, config.hidden_size, prefix=maybe_prefix(prefix, "lm_head")
        )
        self.logits_processor = LogitsProcessor(
            config.draft_vocab_size, scale=config.logit_scale, soft_cap=config.final_logit_softcapping
        )
        self.draft_id_to_target_id = None
        if config.draft_vocab_size != config.vocab_size:
            offsets = torch.zeros(config.draft_vocab_size, dtype=torch.int64)
            self.draft_id_to_target_id = nn.Parameter(offsets, requires_grad=False)

    def combine_hidden_states(self, hidden_states: Tensor) -> Tensor:
        """Return the features that the layer reads [n, H] for those of the target [n, F]."""
        return self.model.fc(hidden_states)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Load the tensors of the head, and say which of embedding and LM head it has."""
        AutoWeightsLoader(self).load_weights(self._placed(weights))

    def _placed(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors by their names in this module; ``t2d`` follows from ``d2t``."""
        for name, tensor in weights:
            if name == "t2d":
                continue
            if name == "d2t":
                name = "draft_id_to_target_id"
            elif not name.startswith("lm_head."):
                name = f"model.{name}"
            process_eagle_weight(self, name)
            yield name, tensor

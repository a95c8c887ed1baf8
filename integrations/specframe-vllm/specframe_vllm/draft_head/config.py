"""The config of the draft models that ``specframe export vllm`` writes.

It is a class of its own because Llama's refuses a hidden size that is no multiple of the heads, which heads
with induction heads have.
"""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PreTrainedConfig


class SpecframeEagleConfig(PreTrainedConfig):
    """Sizes of an EAGLE-2 or EAGLE-3 head; fields that are not named here are those of every config.

    Attributes:
        vocab_size: V of the target.
        hidden_size: H of the head.
        intermediate_size: width of the MLP.
        num_hidden_layers: always 1.
        num_attention_heads: query heads.
        num_key_value_heads: key and value heads.
        head_dim: width of one of them.
        rms_norm_eps: added to the mean square in every norm.
        rope_parameters: type and base of the rotary positions.
        max_position_embeddings: positions the target was trained for.
        hidden_act: activation of the MLP.
        fc_bias: ``fc`` has a bias.
        attention_bias: the q, k and v projections have a bias.
        input_norms: RMSNorm on the embedding and on the feature before ``fc``.
        output_norm: RMSNorm on the output.
        induction_groups: how many key and value heads, the last ones, are induction heads.
        embedding_scale: factor that the target puts on its embedding's rows.
        logit_scale: factor on the logits.
        final_logit_softcapping: bound of the logits; None for none.
        target_name: the target it was trained for.
        tokenizer_fingerprint: of the target's tokenizer.
        target_hidden_size: H of the target; EAGLE-3.
        draft_vocab_size: rows of the head's LM head; EAGLE-3, None elsewhere.
        feature_layers: whose inputs are the features; EAGLE-3.
        norm_before_residual: the residual starts from the normed feature; EAGLE-3.
        own_embedding: the head has an embedding of its own; EAGLE-3.
        own_lm_head: the head has an LM head of its own; EAGLE-3.
    """

    model_type = "specframe_eagle"

    vocab_size: int = 0
    hidden_size: int = 0
    intermediate_size: int = 0
    num_hidden_layers: int = 1
    num_attention_heads: int = 1
    num_key_value_heads: int = 1
    head_dim: int = 2
    rms_norm_eps: float = 1e-6
    rope_parameters: dict[str, Any] | None = None
    max_position_embeddings: int = 2048
    hidden_act: str = "silu"
    fc_bias: bool = False
    attention_bias: bool = False
    input_norms: bool = True
    output_norm: bool = True
    induction_groups: int = 0
    embedding_scale: float = 1.0
    logit_scale: float = 1.0
    final_logit_softcapping: float | None = None
    target_name: str = ""
    tokenizer_fingerprint: str | None = None
    target_hidden_size: int | None = None
    draft_vocab_size: int | None = None
    feature_layers: tuple[int, ...] | list[int] = ()
    norm_before_residual: bool = False
    own_embedding: bool = False
    own_lm_head: bool = True


def register_config() -> None:
    """Make ``AutoConfig`` know the class; once more does no harm."""
    AutoConfig.register(SpecframeEagleConfig.model_type, SpecframeEagleConfig, exist_ok=True)

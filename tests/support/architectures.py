"""A tiny random model of every architecture that is tried as a target, and what becomes of it."""

from __future__ import annotations

from typing import Any, Literal, get_args

import attrs
import torch
import transformers
from tiny_models import tiny_tokenizer
from transformers import AutoModelForCausalLM

from specframe.model.loading import LoadedModel
from specframe.model.supported import attention_of
from specframe.model.target import Target

Outcome = Literal["lean", "works", "refused"]
OUTCOMES = get_args(Outcome)

VOCAB_SIZE = 101
_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.15,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
_OF_GPT2: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "n_embd": 64,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 256,
    "initializer_range": 0.15,
    "bos_token_id": None,
    "eos_token_id": None,
}
_MLA: dict[str, Any] = {
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "num_key_value_heads": 4,
}
_EXPERTS: dict[str, Any] = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
_FEW_EXPERTS: dict[str, Any] = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}
_MIXTURE: dict[str, Any] = {"num_local_experts": 4, "num_experts_per_tok": 2}
_WINDOW: dict[str, Any] = {"sliding_window": 16, "num_hidden_layers": 4}
_NO_GROUPS: dict[str, Any] = {"num_key_value_heads": None}


def rotations(kind: str, **settings: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **settings}}


@attrs.frozen
class Architecture:
    """One of the models.

    Attributes:
        config: name of its config's class, without the last word.
        outcome: whether it runs as a target.
        settings: of the config; those that are None are left out.
        base: what they add to.
        reason: what the refusal says, in part.
        config_class: where it is not the config's name and "Config".
    """

    config: str
    outcome: Outcome = "works"
    settings: dict[str, Any] = attrs.field(factory=dict)
    base: dict[str, Any] = attrs.field(factory=lambda: _COMMON, kw_only=True)
    reason: str = attrs.field(default="", kw_only=True)

    def target(self) -> Target:
        """Return a target of float32 weights, random norms and biases among them."""
        config_class = getattr(transformers, f"{self.config}Config")
        # Those that are None in the settings alone: the class has its own value for them.
        left_out = {name for name, value in self.settings.items() if value is None and name in self.base}
        settings = {k: v for k, v in (self.base | self.settings).items() if k not in left_out}
        config = config_class(**settings)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention_of(config)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1 and parameter.is_floating_point():
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        model.generation_config.eos_token_id = None
        target = Target(LoadedModel(model, tiny_tokenizer(VOCAB_SIZE), "tiny"))
        target.stop_ids = frozenset()
        return target


def _of(config: str, outcome: Outcome = "works", /, **settings: Any) -> Architecture:
    return Architecture(config, outcome, settings)


def _refused(config: str, reason: str, /, base: dict[str, Any] = _COMMON, **settings: Any) -> Architecture:
    return Architecture(config, "refused", settings, base=base, reason=reason)


ARCHITECTURES: dict[str, Architecture] = {
    "Llama": _of("Llama", "lean"),
    "Llama, tied": _of("Llama", "lean", tie_word_embeddings=True),
    "Llama, biases": _of("Llama", "lean", attention_bias=True, mlp_bias=True),
    "Llama, linear rotations": _of("Llama", "lean", **rotations("linear", factor=4.0)),
    "Llama, yarn rotations": _of(
        "Llama", "lean", **rotations("yarn", factor=4.0, original_max_position_embeddings=64)
    ),
    "Llama, llama3 rotations": _of(
        "Llama",
        "lean",
        **rotations(
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=64,
        ),
    ),
    "Llama, dynamic rotations": _of("Llama", **rotations("dynamic", factor=4.0)),
    "Mistral": _of("Mistral", "lean", sliding_window=16),
    "Mixtral": _of("Mixtral", sliding_window=16, **_MIXTURE),
    "Ministral": _of("Ministral", sliding_window=16, head_dim=16),
    "Qwen2": _of("Qwen2", "lean"),
    "Qwen2, windows": _of("Qwen2", "lean", use_sliding_window=True, sliding_window=16, max_window_layers=1),
    "Qwen2-MoE": _of("Qwen2Moe", shared_expert_intermediate_size=64, decoder_sparse_step=1, **_FEW_EXPERTS),
    "Qwen3": _of("Qwen3", "lean", head_dim=16),
    "Qwen3-MoE": _of("Qwen3Moe", head_dim=16, **_FEW_EXPERTS),
    "Gemma": _of("Gemma", head_dim=16),
    "Gemma 2": _of("Gemma2", head_dim=16, query_pre_attn_scalar=16, **_WINDOW),
    "Gemma 3": _of("Gemma3Text", "lean", head_dim=16, query_pre_attn_scalar=16, **_WINDOW),
    "VaultGemma": _of("VaultGemma", head_dim=16, **_WINDOW),
    "Phi": _of("Phi"),
    "Phi-3": _of("Phi3", sliding_window=None),
    "Phi-3, windows": _of("Phi3", sliding_window=16),
    "PhiMoE": _of("Phimoe", sliding_window=16, num_local_experts=4),
    "Granite": _of("Granite", logits_scaling=4.0, embedding_multiplier=2.0, residual_multiplier=0.5),
    "GraniteMoE": _of("GraniteMoe", logits_scaling=4.0, embedding_multiplier=2.0, num_local_experts=4),
    "Cohere": _of("Cohere", logit_scale=0.5),
    "Cohere 2": _of("Cohere2", logit_scale=0.5, **_WINDOW),
    "OLMo": _of("Olmo"),
    "OLMo 2": _of("Olmo2"),
    "OLMo 3": _of("Olmo3", **_WINDOW),
    "OLMoE": _of("Olmoe", num_experts=4, num_experts_per_tok=2),
    "StableLM": _of("StableLm"),
    "StableLM, parallel": _of("StableLm", use_parallel_residual=True, qk_layernorm=True, use_qkv_bias=True),
    "StarCoder 2": _of("Starcoder2", sliding_window=16),
    "DeepSeek V2": _of("DeepseekV2", **_MLA, **_EXPERTS),
    "DeepSeek V3": _of("DeepseekV3", **_MLA, **_EXPERTS),
    "GLM": _of("Glm", head_dim=16),
    "GLM-4": _of("Glm4", head_dim=16),
    "GLM-4-MoE": _of("Glm4Moe", head_dim=16, **_EXPERTS),
    "SmolLM3": _of("SmolLM3", num_hidden_layers=4),
    "GPT-OSS": _of("GptOss", head_dim=16, **_MIXTURE, **_WINDOW),
    "EXAONE 4": _of("Exaone4", sliding_window_pattern=4, **_WINDOW),
    "Helium": _of("Helium", head_dim=16),
    "Arcee": _of("Arcee"),
    "Apertus": _of("Apertus"),
    "Nemotron": _of("Nemotron"),
    "Seed-OSS": _of("SeedOss", head_dim=16),
    "Persimmon": _of("Persimmon", **_NO_GROUPS),
    "DiffLlama": _of("DiffLlama"),
    "ERNIE 4.5": _of("Ernie4_5"),
    "HunYuan": _of("HunYuanDenseV1", head_dim=16),
    "BitNet": _of("BitNet"),
    "dots.llm1": _of("Dots1", head_dim=16, num_key_value_heads=4, **_EXPERTS),
    "Falcon": _of("Falcon", intermediate_size=None, **_NO_GROUPS),
    "Falcon, parallel, one key": _of(
        "Falcon", multi_query=True, parallel_attn=True, intermediate_size=None, **_NO_GROUPS
    ),
    "Gemma 3n": _of(
        "Gemma3nText",
        head_dim=16,
        vocab_size_per_layer_input=VOCAB_SIZE,
        hidden_size_per_layer_input=16,
        num_kv_shared_layers=2,
        laurel_rank=8,
        layer_types=["sliding_attention", "full_attention"] * 2,
        activation_sparsity_pattern=[0.0] * 4,
        **_WINDOW,
    ),
    "Ministral 3": _of("Ministral3", head_dim=16, sliding_window=16),
    "MiMo-V2-Flash": _of(
        "MiMoV2Flash",
        head_dim=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        n_group=1,
        topk_group=1,
        **_WINDOW,
    ),
    "Doge": _of("Doge"),
    "NanoChat": _of("NanoChat", head_dim=16),
    "MiniMax-M2": _of("MiniMaxM2", head_dim=16, **_MIXTURE),
    "JetMoE": _of("JetMoe", num_key_value_heads=4, num_attention_heads=None, kv_channels=16, **_MIXTURE),
    "GPT-2": Architecture("GPT2", base=_OF_GPT2),
    "GPT-J": Architecture("GPTJ", settings={"rotary_dim": 8}, base=_OF_GPT2),
    "CodeGen": Architecture("CodeGen", settings={"rotary_dim": 8}, base=_OF_GPT2),
    "GPT-BigCode": Architecture("GPTBigCode", base=_OF_GPT2),
    "GPT-NeoX": _of("GPTNeoX", **_NO_GROUPS),
    "OPT, narrow embeddings": Architecture(
        "OPT",
        settings={
            "ffn_dim": 96,
            "word_embed_proj_dim": 32,
            "do_layer_norm_before": False,
            "init_std": 0.15,
            "initializer_range": None,
        },
    ),
    "CTRL": Architecture("CTRL", settings={"dff": 96}, base=_OF_GPT2),
    "OPT": Architecture(
        "OPT",
        settings={"ffn_dim": 96, "word_embed_proj_dim": 64, "init_std": 0.15, "initializer_range": None},
    ),
    "BioGPT": _of("BioGpt", **_NO_GROUPS),
    "XGLM": Architecture(
        "XGLM",
        settings={"d_model": 64, "ffn_dim": 96, "num_layers": 3, "attention_heads": 4, "init_std": 0.15},
        base={
            k: _COMMON[k] for k in ("vocab_size", "max_position_embeddings", "eos_token_id", "pad_token_id")
        },
    ),
    # Positions of their own.
    "GPT-Neo": _refused(
        "GPTNeo",
        "has layers of local attention, whose windows are counted in the cache",
        num_layers=4,
        num_heads=4,
        attention_types=[[["global", "local"], 2]],
        window_size=256,
        num_hidden_layers=None,
        num_attention_heads=None,
        num_key_value_heads=None,
    ),
    "GPT-Neo, a long window": _refused(
        "GPTNeo",
        "has layers of local attention, whose windows are counted in the cache",
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=520,
        num_hidden_layers=None,
        num_attention_heads=None,
        num_key_value_heads=None,
        max_position_embeddings=524,
    ),
    "Doge, a small dynamic mask": _refused(
        "Doge", "attends in a way of its own at a distance of 32 tokens", keep_window_size=32
    ),
    "Mistral, a window of one token": _refused(
        "Mistral", "has a sliding window of one token", sliding_window=1
    ),
    "Falcon, ALiBi": _refused(
        "Falcon", "takes positions from the cache (ALiBi)", alibi=True, intermediate_size=None, **_NO_GROUPS
    ),
    "BLOOM": _refused(
        "Bloom", "computes its logits in a way", base=_OF_GPT2, n_positions=None, n_embd=None, hidden_size=64
    ),
    "MPT": _refused(
        "Mpt",
        "computes its logits in a way",
        base={"vocab_size": VOCAB_SIZE, "eos_token_id": None, "initializer_range": 0.15},
        d_model=64,
        n_layers=3,
        n_heads=4,
        max_seq_len=256,
    ),
    # Other attention, states, or none.
    "Llama 4": _refused(
        "Llama4Text",
        "has layers of type 'chunked_attention'",
        head_dim=16,
        intermediate_size_mlp=96,
        num_local_experts=2,
        attention_chunk_size=16,
        num_hidden_layers=4,
    ),
    "Qwen3-Next": _refused(
        "Qwen3Next",
        "has attention that could be rolled back, and layers of type 'linear_attention' that cannot",
        num_hidden_layers=4,
        shared_expert_intermediate_size=64,
        head_dim=16,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
        **_FEW_EXPERTS,
    ),
    "MiniMax": _refused("MiniMax", "layers of type 'linear_attention'", head_dim=16, num_local_experts=2),
    "LFM2": _refused("Lfm2", "layers of type 'conv'", num_hidden_layers=4, full_attn_idxs=[1, 3]),
    "Mamba": _refused("Mamba", "cannot be rolled back", state_size=8, num_attention_heads=None, **_NO_GROUPS),
    "RWKV": _refused(
        "Rwkv",
        "keeps a state that cannot be rolled back",
        attention_hidden_size=64,
        num_attention_heads=None,
        **_NO_GROUPS,
    ),
    "BERT": _refused("Bert", "cannot reproduce", is_decoder=True, **_NO_GROUPS),
    "ELECTRA": _refused("Electra", "cannot reproduce", is_decoder=True, **_NO_GROUPS),
    "RemBERT": _refused("RemBert", "cannot reproduce", is_decoder=True, **_NO_GROUPS),
    "BART": _refused(
        "Bart",
        "specframe needs a decoder-only model",
        base={"vocab_size": VOCAB_SIZE},
        d_model=64,
        encoder_layers=1,
        decoder_layers=3,
        decoder_attention_heads=4,
        decoder_ffn_dim=96,
        is_decoder=True,
        is_encoder_decoder=False,
    ),
    "ModernBERT decoder": _refused(
        "ModernBertDecoder",
        "cannot reproduce",
        num_key_value_heads=None,
        local_attention=16,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "XLNet": _refused(
        "XLNet",
        "cannot reproduce",
        base={"vocab_size": VOCAB_SIZE},
        d_model=64,
        n_layer=3,
        n_head=4,
        d_inner=96,
    ),
}

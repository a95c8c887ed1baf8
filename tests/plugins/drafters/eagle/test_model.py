import torch
from transformers import Gemma3TextConfig, LlamaConfig

from specframe_plugins.drafters.eagle.model import Attention, EagleConfig, EagleHead, rotary_tables, rotate

SIZES = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
}


def random_inputs(tokens: int, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    embeddings, features = torch.randn(2, batch, tokens, 16, generator=generator)
    return embeddings, features, torch.arange(tokens).expand(batch, tokens)


def random_head(**options: object) -> EagleHead:
    torch.manual_seed(0)
    return EagleHead(EagleConfig(**SIZES, **options)).eval()


def test_parameter_names_and_shapes_follow_the_public_layout():
    head = random_head(input_norms=False, output_norm=False, fc_bias=True)
    assert {name: tuple(p.shape) for name, p in head.named_parameters()} == {
        "fc.weight": (16, 32),
        "fc.bias": (16,),
        "layers.0.self_attn.q_proj.weight": (16, 16),
        "layers.0.self_attn.k_proj.weight": (8, 16),
        "layers.0.self_attn.v_proj.weight": (8, 16),
        "layers.0.self_attn.o_proj.weight": (16, 16),
        "layers.0.post_attention_layernorm.weight": (16,),
        "layers.0.mlp.gate_proj.weight": (24, 16),
        "layers.0.mlp.up_proj.weight": (24, 16),
        "layers.0.mlp.down_proj.weight": (16, 24),
    }


def test_options_add_three_norms_and_the_attention_biases():
    names = dict(random_head(attention_bias=True).named_parameters())
    assert {"embedding_norm.weight", "feature_norm.weight", "norm.weight"} < set(names)
    assert names["layers.0.self_attn.k_proj.bias"].shape == (8,)


def test_an_induction_head_finds_what_followed_the_last_time():
    attention = Attention(
        EagleConfig(**{**SIZES, "num_attention_heads": 1, "num_key_value_heads": 1}, induction_groups=1), 4
    )
    with torch.no_grad():
        for projection, scale in ((attention.q_proj, 9.0), (attention.k_proj, 9.0), (attention.v_proj, 1.0)):
            projection.weight.copy_(scale * torch.eye(4))
        attention.o_proj.weight.copy_(torch.eye(16, 4))
    text = torch.eye(4)[[0, 1, 2, 3, 0, 1]]
    cos, sin = rotary_tables(EagleConfig(**SIZES), torch.arange(len(text)))
    found = attention(text[None], cos, sin, None)[0, :, :4]
    torch.testing.assert_close(found[4:], text[[1, 2]])


def test_without_a_mask_no_position_sees_a_later_one():
    head = random_head()
    embeddings, features, positions = random_inputs(6)
    before = head(embeddings, features, positions)
    embeddings[:, 4:] += 1.0
    after = head(embeddings, features, positions)
    torch.testing.assert_close(after[:, :4], before[:, :4])


def test_a_causal_mask_equals_no_mask():
    head = random_head()
    inputs = random_inputs(6)
    causal = torch.ones(6, 6, dtype=torch.bool).tril().expand(2, 1, 6, 6)
    torch.testing.assert_close(head(*inputs, causal), head(*inputs))


def test_only_the_difference_of_positions_matters():
    head = random_head()
    embeddings, features, positions = random_inputs(6)
    torch.testing.assert_close(
        head(embeddings, features, positions + 7), head(embeddings, features, positions), rtol=1e-4, atol=1e-5
    )


def test_the_output_norm_gives_unit_mean_square():
    out = random_head()(*random_inputs(6))
    torch.testing.assert_close(out.square().mean(-1), torch.ones(2, 6), rtol=1e-3, atol=1e-3)


def test_rotation_keeps_length_and_position_zero():
    config = EagleConfig(**SIZES)
    cos, sin = rotary_tables(config, torch.arange(5))
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(2))
    rotated = rotate(x, cos, sin)
    torch.testing.assert_close(rotated.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(rotated[0], x[0])


def test_rotation_equals_the_one_of_transformers():
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    llama = LlamaConfig(
        hidden_size=16, num_attention_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 500.0}
    )
    positions = torch.arange(9)[None]
    x = torch.randn(1, 4, 9, 4, generator=torch.Generator().manual_seed(3))
    expected, _ = apply_rotary_pos_emb(x, x, *LlamaRotaryEmbedding(llama)(x, positions))
    cos, sin = rotary_tables(EagleConfig(**SIZES, rope_theta=500.0), positions)
    torch.testing.assert_close(rotate(x, cos[:, None], sin[:, None]), expected)


def test_a_head_for_a_llama_takes_the_sizes_of_its_layers():
    config = EagleConfig.for_target(
        LlamaConfig(
            vocab_size=99,
            hidden_size=24,
            intermediate_size=40,
            num_attention_heads=6,
            num_key_value_heads=3,
            rope_parameters={"rope_type": "default", "rope_theta": 12345.0},
        ),
        target_name="tiny",
    )
    assert (config.vocab_size, config.hidden_size, config.intermediate_size) == (99, 24, 40)
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (6, 3, 4)
    assert (config.rope_theta, config.target_name) == (12345.0, "tiny")


def test_a_head_for_a_gemma_takes_the_rotary_base_of_full_attention():
    rope = {
        "full_attention": {"rope_type": "default", "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    config = EagleConfig.for_target(Gemma3TextConfig(head_dim=32, rope_parameters=rope))
    assert (config.rope_theta, config.head_dim) == (1e6, 32)

"""Small decoders of every kind that a forward computes, and the trees that they run over."""

from __future__ import annotations

from typing import Any

import torch
from tiny_models import MODEL_TYPES, tiny_model
from torch import Tensor
from transformers import MistralConfig, MistralForCausalLM

from specframe.contracts.tree import DraftTree
from specframe.model.forward import causal_mask

IDS = torch.randint(3, 101, (40,), generator=torch.Generator().manual_seed(5))
VARIANTS: dict[str, dict[str, Any]] = {
    "llama with biases": {"attention_bias": True, "mlp_bias": True},
    "llama with linear rope": {
        "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 100.0}
    },
    "llama with llama3 rope": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 100.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    },
    "llama with yarn rope": {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 100.0,
            "factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    },
    "llama with one key head": {"num_key_value_heads": 1},
    "llama with tied embeddings": {"tie_word_embeddings": True},
}


def mistral() -> Any:
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=101,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=8,
        initializer_range=0.3,
        attn_implementation="sdpa",
    )
    return MistralForCausalLM(config).eval()


def model_of(name: str) -> Any:
    if name == "mistral":
        model = mistral()
    else:
        model = tiny_model(name) if name in MODEL_TYPES else tiny_model("llama", **VARIANTS[name])
    torch.manual_seed(1)
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith("bias") or "norm" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.5)
    return model.requires_grad_(False)


def append(forward: Any, ids: Tensor) -> Tensor:
    positions = forward.committed + torch.arange(len(ids))
    hidden: Tensor = forward.run(ids, positions, causal_mask(len(ids), ids.device))[0]
    forward.commit(tuple(range(len(ids))))
    return hidden


def random_tree(nodes: int, seed: int) -> DraftTree:
    generator = torch.Generator().manual_seed(seed)
    parents, depths = [-1], [0]
    for node in range(1, nodes):
        parents.append(int(torch.randint(max(0, node - 4), node, (), generator=generator)))
        depths.append(depths[parents[-1]] + 1)
    return DraftTree(
        token_ids=torch.randint(3, 101, (nodes,), generator=generator),
        parents=torch.tensor(parents),
        depths=torch.tensor(depths),
        log_probs=torch.zeros(nodes),
    )


def path_to(tree: DraftTree, node: int) -> tuple[int, ...]:
    path = [node]
    while path[0]:
        path.insert(0, int(tree.parents[path[0]]))
    return tuple(path)


def tree_of_levels(depth: int, width: int) -> DraftTree:
    """Return a tree of the root and ``depth`` levels of ``width`` nodes, level by level."""
    parents = torch.randint(width, (depth, width), generator=torch.Generator().manual_seed(2))
    parents += torch.arange(depth)[:, None] * width - width + 1
    parents[0] = 0
    depths = torch.arange(1, depth + 1).repeat_interleave(width)
    return DraftTree(
        token_ids=torch.randint(3, 101, (1 + depth * width,), generator=torch.Generator().manual_seed(3)),
        parents=torch.cat((torch.tensor([-1]), parents.flatten())),
        depths=torch.cat((torch.tensor([0]), depths)),
        log_probs=torch.zeros(1 + depth * width),
    )

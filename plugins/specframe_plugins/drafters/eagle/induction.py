"""Heads that get induction heads: fresh ones, or those of a checkpoint, which then go on as they were.

An induction head is of use once its keys find the right pair and its values say something; either is noise
without the other, and an optimizer that scales its steps walks at full speed through noise. So queries and
keys begin as one random projection, which finds pairs that are alike (Johnson and Lindenstrauss), and stay
that until the values have learnt to be read.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from attrs import evolve
from torch import Tensor, nn

from specframe_plugins.drafters.eagle.model import Attention, EagleConfig, PairLayer

# Share of the training in which queries and keys stay what they begin as.
_LIKENESS_SHARE = 0.2
# Score of a pair against itself, for inputs of a root mean square of 1.
_LIKENESS = 6.0
# Of the values of all induction heads together: fewer tell the tokens of a vocabulary apart too slowly.
_DIMENSIONS = 256

Head = TypeVar("Head", bound=PairLayer)


def default_groups(config: EagleConfig) -> int:
    """Returns how many induction heads a head of these sizes gets when nobody says."""
    return math.ceil(min(_DIMENSIONS, config.hidden_size) / config.head_dim)


@torch.no_grad()
def with_induction(head: Head, groups: int | None) -> Head:
    """Returns a head that computes the same and has induction heads among its key and value heads.

    What they find is multiplied by zeros at first, so a trained head loses nothing.

    Args:
        head: an EAGLE-2 or EAGLE-3 head; those induction heads that it has stay.
        groups: how many it is to have, each with as many query heads as the others; None for
            `default_groups`.
    """
    config = head.config
    added = (default_groups(config) if groups is None else groups) - config.induction_groups
    if added <= 0:
        return head
    shared = config.num_attention_heads // config.num_key_value_heads
    grown = type(head)(
        evolve(
            config,
            num_attention_heads=config.num_attention_heads + added * shared,
            num_key_value_heads=config.num_key_value_heads + added,
            induction_groups=config.induction_groups + added,
        )
    )
    grown.to(next(head.parameters()).device)
    trained = head.state_dict()
    for name, parameter in grown.named_parameters():
        parameter.zero_()[tuple(map(slice, trained[name].shape))] = trained[name]
    _find_alike(grown.attention, added)
    return grown


def hold_likeness(head: PairLayer, progress: float) -> None:
    """Drops the gradients of the queries and keys of induction heads, in the first part of the training."""
    if progress >= _LIKENESS_SHARE:
        return
    attention = head.attention
    first = attention.ordinary_groups * attention.head_dim
    for projection, row in ((attention.q_proj, first * attention.shared), (attention.k_proj, first)):
        for parameter in projection.parameters():
            if parameter.grad is not None:
                parameter.grad[row:] = 0


def _find_alike(attention: Attention, groups: int) -> None:
    """Gives the last key and value heads one random projection for queries and keys, and random values."""
    rows, width = groups * attention.head_dim, attention.k_proj.in_features
    key = attention.k_proj.weight[-rows:]
    key.normal_(std=math.sqrt(_LIKENESS / (width * math.sqrt(attention.head_dim))))
    attention.q_proj.weight[-rows * attention.shared :] = _for_every_query(key, groups, attention.shared)
    nn.init.kaiming_uniform_(attention.v_proj.weight[-rows:], a=math.sqrt(5))


def _for_every_query(key: Tensor, groups: int, shared: int) -> Tensor:
    """Returns the rows of each group [groups * head_dim, H] once for each of its query heads."""
    rows: Tensor = key.unflatten(0, (groups, -1)).repeat_interleave(shared, dim=0).flatten(0, 1)
    return rows

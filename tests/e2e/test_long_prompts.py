"""Memory for a prompt grows with its length and not with its square."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_engines import autoregressive_engine, drafting_engine, endless_target, nanospec
from tiny_models import reference_greedy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from specframe.engine.engine import Engine
from specframe.model.target import Target

pytestmark = pytest.mark.numbers

CHUNK = 32


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation returns, in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.bytes = max(self.bytes, leaf.numel() * leaf.element_size())
        return result


@pytest.fixture(scope="module")
def target() -> Target:
    return endless_target(max_position_embeddings=2048)


def engine(target: Target, drafts: bool) -> Engine:
    if not drafts:
        return autoregressive_engine(target, prefill_chunk=CHUNK)
    return drafting_engine(target, strategy=nanospec(target, capacity=90), prefill_chunk=CHUNK)


def prompt(tokens: int) -> torch.Tensor:
    return torch.randint(3, 101, (tokens,), generator=torch.Generator().manual_seed(tokens))


def largest(target: Target, drafts: bool, tokens: int) -> int:
    with LargestTensor() as seen:
        engine(target, drafts).generate(prompt(tokens), 2)
    return seen.bytes


@pytest.mark.parametrize("drafts", [False, True])
def test_the_largest_tensor_grows_with_the_length_of_the_prompt(target: Target, drafts: bool) -> None:
    short, long = (largest(target, drafts, tokens) for tokens in (480, 1920))
    assert long < 4.5 * short, "more than linear"
    assert long < 1920**2, "as large as a mask of every token against every other"


@pytest.mark.parametrize("drafts", [False, True])
def test_a_prompt_of_many_chunks_is_read_right(target: Target, drafts: bool) -> None:
    ids = prompt(1000)
    assert engine(target, drafts).generate(ids, 8).token_ids == reference_greedy(target.model, ids, 8)

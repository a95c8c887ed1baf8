"""The conformance check of vocabulary strategies."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from specframe.contracts.kinds import Eviction
from specframe.contracts.protocols import VocabularyBuilder
from specframe.contracts.screen import Screen
from specframe.testing.reference import (
    generator,
    path_to,
    random_tree,
    require,
    require_contract,
    verdict_on,
)


def check_vocabulary_builder(builder: VocabularyBuilder, vocab_size: int) -> None:
    """Check a vocabulary strategy on short, long and repetitive requests.

    Two equal requests must admit the same ids, whatever was requested in between.

    Args:
        builder: as its factory returns it.
        vocab_size: V of the target it was built for; at least 16.

    Raises:
        AssertionError: it breaks a promise of ``VocabularyBuilder``.
    """
    require_contract(builder, VocabularyBuilder)
    _check_ids(builder.pinned_ids, vocab_size, "pinned_ids")
    require(builder.eviction in get_args(Eviction), f"eviction is {builder.eviction!r}; allowed: fifo, lru")
    require(
        builder.harvest_topk >= 0 and builder.prompt_window >= 0,
        "harvest_topk and prompt_window are counts; neither may be negative",
    )
    require(builder.harvest_topk <= vocab_size, "harvest_topk asks for more tokens than there are")
    screen = builder.screen
    require(
        screen is None or isinstance(screen, Screen),
        f"screen is a {type(screen).__name__}; allowed: a Screen, or None",
    )
    if builder.capacity is None:
        require(screen is None, "capacity is None, so the screen is never asked; allowed with one: 0 or more")
        return
    pinned = len(torch.unique(builder.pinned_ids))
    least = max(pinned, 1 if screen is None else 0)
    require(
        least <= builder.capacity <= vocab_size,
        f"capacity is {builder.capacity}; allowed: from the {least} pinned ids to the vocabulary of "
        f"{vocab_size}",
    )
    source = generator()
    prompts = [
        torch.tensor([vocab_size - 1]),
        torch.zeros(300, dtype=torch.int64),
        torch.arange(vocab_size).flip(0),
        torch.randint(vocab_size, (2 * vocab_size,), generator=source),
    ]
    first = [_request(builder, prompt, vocab_size) for prompt in prompts]
    for prompt, before in reversed(list(zip(prompts, first, strict=True))):
        after = _request(builder, prompt, vocab_size)
        require(
            all(map(torch.equal, before, after)),
            "the same request admitted other ids than before: an earlier request leaked into it",
        )


def _check_ids(ids: Tensor, vocab_size: int, what: str) -> None:
    require(isinstance(ids, Tensor), f"{what} is {type(ids).__name__}; it must be a tensor")
    require(ids.dtype == torch.int64, f"{what} has dtype {ids.dtype}; it must be int64")
    require(ids.ndim == 1, f"{what} has {ids.ndim} dimensions; it must have one")
    in_range = (ids >= 0) & (ids < vocab_size)
    require(in_range.all(), f"{what} holds id {ids[~in_range][:1].tolist()}; allowed: 0 to {vocab_size - 1}")


def _check_batch(at_once: Tensor, ids: Tensor) -> None:
    require(isinstance(at_once, Tensor), "observe_batch() must return a tensor")
    require(
        set(at_once.tolist()) - {-1} == set(ids.tolist()),
        "observe_batch() admitted other ids than observe() for the same pass",
    )


def _request(builder: VocabularyBuilder, prompt_ids: Tensor, vocab_size: int) -> list[Tensor]:
    """Return what a builder admits in one request of five target passes that depend on nothing else."""
    source = generator()

    def harvest(positions: int) -> Tensor:
        return torch.randint(vocab_size, (positions, builder.harvest_topk), generator=source)

    positions = min(len(prompt_ids), builder.prompt_window)
    prompt_ids = prompt_ids.clone()
    given = prompt_ids.clone()
    batches: list[tuple[Tensor, Tensor]] = []
    admitted = [builder.start(given, harvest(positions) if builder.harvest_topk and positions else None)]
    require(torch.equal(given, prompt_ids), "start() changed prompt_ids; its inputs belong to the engine")
    for size in (1, 2, 7, 7, 30):
        tree = random_tree(size, vocab_size, source)
        path = path_to(tree, int(torch.randint(size, (), generator=source)))
        verdict = verdict_on(tree, path, int(torch.randint(vocab_size, (), generator=source)))
        topk_ids = harvest(size) if builder.harvest_topk else None
        ids = builder.observe(verdict, tree, topk_ids)
        admitted.append(ids)
        if builder.takes_batches:
            emitted = torch.tensor([int(tree.token_ids[0]), *verdict.emitted_ids, -1])
            batches.append((builder.observe_batch(tree.token_ids, emitted, topk_ids), ids))
    for ids, method in zip(admitted, ["start()", *["observe()"] * 5], strict=True):
        _check_ids(ids, vocab_size, f"what {method} returned")
    for at_once, ids in batches:
        _check_batch(at_once, ids)
    return [ids.clone() for ids in admitted]

"""The conformance check of vocabulary strategies."""

from __future__ import annotations

import copy
from typing import Any, get_args

import torch
from torch import Tensor

from specframe.contracts.kinds import Eviction
from specframe.contracts.protocols import VocabularyBuilder
from specframe.contracts.screen import Screen
from specframe.testing.promises import (
    alone,
    called,
    declared,
    require,
    require_contract,
    require_flag,
    require_tensor,
    require_whole,
)
from specframe.testing.reference import generator, path_to, random_tree, tensors_of, verdict_on

# Ids of one call, repetitions included, for each token of the vocabulary: more are never of use.
_IDS_PER_TOKEN = 16
# What is kept from request to request may show late: so many requests come between two equal ones.
_MANY = 40
_DECLARED = ("capacity", "harvest_topk", "prompt_window", "eviction", "takes_batches", "keeps_active_set")


@alone
def check_vocabulary_builder(
    builder: VocabularyBuilder, vocab_size: int, required_ids: Tensor | None = None
) -> None:
    """Check a vocabulary strategy on short, long and repetitive requests.

    Two equal requests must admit the same ids, whatever was requested in between, and whatever becomes of the
    tensors of a target pass once the strategy has seen them.

    Args:
        builder: as its factory returns it.
        vocab_size: V of the target it was built for; at least 16.
        required_ids: what the factory found in its context: ids that must be pinned [n] int64; None where
            that is not to be checked.

    Raises:
        BrokenPromise: it breaks a promise of ``VocabularyBuilder``.
    """
    require_contract(builder, VocabularyBuilder)
    _check_ids(declared(builder, "pinned_ids"), vocab_size, "pinned_ids")
    eviction = declared(builder, "eviction")
    require(eviction in get_args(Eviction), f"eviction is {eviction!r}; allowed: fifo, lru")
    require_whole(builder, "harvest_topk", 0, vocab_size)
    require_whole(builder, "prompt_window", 0)
    for name in ("takes_batches", "keeps_active_set"):
        require_flag(builder, name)
    screen = declared(builder, "screen")
    require(
        screen is None or isinstance(screen, Screen),
        f"screen is a {type(screen).__name__}; allowed: a Screen, or None",
    )
    capacity = declared(builder, "capacity")
    if capacity is None:
        require(screen is None, "capacity is None, so the screen is never asked; allowed with one: 0 or more")
        return
    pinned = builder.pinned_ids.clone()
    count = len(torch.unique(pinned))
    least = max(count, 1 if screen is None else 0)
    require(
        type(capacity) is int and least <= capacity <= vocab_size,
        f"capacity is {capacity!r}; allowed: from the {least} pinned ids to the vocabulary of {vocab_size}, "
        "a whole number, or None",
    )
    if required_ids is not None:
        left_out = required_ids[~torch.isin(required_ids, pinned.to(required_ids.device))].tolist()
        # With a screen and no slots there is nothing to pin them in.
        require(
            not left_out or capacity == 0,
            f"pinned_ids lacks {left_out} of required_ids: without them no draft could end the text",
        )
    prompts = [
        torch.tensor([vocab_size - 1]),
        torch.zeros(300, dtype=torch.int64),
        torch.arange(vocab_size).flip(0),
        torch.randint(vocab_size, (2 * vocab_size,), generator=generator()),
    ]
    stated = [declared(builder, name) for name in _DECLARED]
    fresh = _copied(builder)
    first = [_request(builder, prompt, vocab_size) for prompt in prompts]
    require(
        torch.equal(builder.pinned_ids, pinned),
        "pinned_ids changed during a request; they are active in every request, and stay as they are",
    )
    for name, value in zip(_DECLARED, stated, strict=True):
        require(
            declared(builder, name) == value,
            f"{name} was {value!r} and is {getattr(builder, name)!r} after a request; it must stay as it is",
        )
    for prompt, before in reversed(list(zip(prompts, first, strict=True))):
        require(
            _same(before, _request(builder, prompt, vocab_size)),
            "the same request admitted other ids than before: an earlier request leaked into it",
        )
    if fresh is not None:
        require(
            _same(first[-1], _request(fresh, prompts[-1], vocab_size)),
            "the same request admitted other ids as the first one of all: the first request leaked into it",
        )
    for number in range(_MANY):
        _request(builder, prompts[-1][number : 2 * number + 1], vocab_size)
    require(
        _same(first[0], _request(builder, prompts[0], vocab_size)),
        f"after {_MANY} more requests the same request admitted other ids: what it keeps outlasts "
        "the request",
    )
    for prompt, before in zip(prompts, first, strict=True):
        require(
            _same(before, _request(builder, prompt, vocab_size, spoils=True)),
            "the request admitted other ids when the tree and the harvest were written over after each call: "
            "it keeps what it was given; allowed: to keep a copy",
        )


def _copied(builder: VocabularyBuilder) -> VocabularyBuilder | None:
    """Return a copy that nothing was requested of, or None where it holds what cannot be copied."""
    try:
        return copy.deepcopy(builder)
    except Exception:  # a stranger's class may fail in anything
        return None


def _same(some: list[Tensor], others: list[Tensor]) -> bool:
    return all(map(torch.equal, some, others))


def _check_ids(ids: Any, vocab_size: int, what: str, least: int = 0) -> None:
    require_tensor(ids, what, torch.int64, (None,))
    in_range = (ids >= least) & (ids < vocab_size)
    none = "-1 for none, " if least else ""
    require(
        in_range.all(),
        f"{what} holds id {ids[~in_range][:1].tolist()}; allowed: {none}0 to {vocab_size - 1}",
    )


def _check_returned(ids: Any, given: Tensor, vocab_size: int, method: str, least: int = 0) -> None:
    """Check what a method returned for ids on a device."""
    what, most = f"what {method}() returned", _IDS_PER_TOKEN * vocab_size
    require_tensor(ids, what, torch.int64, (None,), given.device)
    require(
        len(ids) <= most, f"{what} has {len(ids)} ids; allowed: {most}, {_IDS_PER_TOKEN} times the vocabulary"
    )
    _check_ids(ids, vocab_size, what, least)


def _request(
    builder: VocabularyBuilder, prompt_ids: Tensor, vocab_size: int, *, spoils: bool = False
) -> list[Tensor]:
    """Return what a builder admits in one request of five target passes that depend on nothing else.

    Args:
        builder: is asked.
        prompt_ids: [T].
        vocab_size: V.
        spoils: whether the tensors of a target pass are written over once it was seen.
    """
    source = generator()

    def harvest(positions: int) -> Tensor:
        return torch.randint(vocab_size, (positions, builder.harvest_topk), generator=source)

    positions = min(len(prompt_ids), builder.prompt_window)
    asked = harvest(positions) if builder.harvest_topk and positions else None
    ids = called(builder, "start", prompt_ids.clone(), asked)
    _check_returned(ids, prompt_ids, vocab_size, "start")
    admitted = [ids.clone()]
    if spoils and asked is not None:
        asked.copy_((asked + 1) % vocab_size)
    for size in (1, 2, 7, 7, 30):
        tree = random_tree(size, vocab_size, source)
        path = path_to(tree, int(torch.randint(size, (), generator=source)))
        verdict = verdict_on(tree, path, int(torch.randint(vocab_size, (), generator=source)))
        topk_ids = harvest(size) if builder.harvest_topk else None
        given = [one.clone() for one in tensors_of(tree)]
        ids = called(builder, "observe", verdict, tree, topk_ids)
        require(
            all(map(torch.equal, given, tensors_of(tree))),
            "observe() changed the tree; its inputs belong to the engine",
        )
        _check_returned(ids, prompt_ids, vocab_size, "observe")
        admitted.append(ids.clone())
        if builder.takes_batches:
            emitted = torch.tensor([int(tree.token_ids[0]), *verdict.emitted_ids, -1])
            at_once = called(builder, "observe_batch", tree.token_ids, emitted, topk_ids)
            _check_returned(at_once, prompt_ids, vocab_size, "observe_batch", least=-1)
            require(
                set(at_once.tolist()) - {-1} == set(admitted[-1].tolist()),
                "observe_batch() admitted other ids than observe() for the same pass",
            )
        if spoils:
            tree.token_ids.copy_((tree.token_ids + 1) % vocab_size)
            tree.parents.zero_()
            if topk_ids is not None:
                topk_ids.copy_((topk_ids + 1) % vocab_size)
    return admitted

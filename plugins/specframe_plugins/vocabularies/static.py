"""Strategy ``static``: the most frequent tokens, the same for every request.

Source: FR-Spec (arXiv 2502.14856), section 3: draft over the frequent subset of the vocabulary; 32,768
tokens is the paper's setting.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import attrs
import torch
from torch import Tensor

from specframe.contracts.options import option
from specframe.contracts.protocols import VocabularyBuilder
from specframe.errors import UsageError
from specframe.registry.components import BuildContext, Component, DoctorRequest, Finding
from specframe_plugins.vocabularies.frequencies import (
    TokenFrequencies,
    shipped_frequencies,
    token_frequencies,
)


def _parse_size(size: str) -> int | float:
    """Return a whole number as a number of tokens, and a number with a point as a coverage share.

    Raises:
        ValueError: it is neither, or not positive, or a share above 1.
    """
    if size.isdecimal() and int(size) >= 1:
        return int(size)
    try:
        share = float(size)
    except ValueError:
        share = math.nan
    if "." in size and 0 < share <= 1:
        return share
    raise ValueError(
        f"size is {size!r}; allowed: a whole number of tokens from 1, or a coverage share such as 0.99"
    )


@attrs.frozen(slots=True)
class StaticOptions:
    """Options of ``static``."""

    size: str = option(
        "32768",
        help="active tokens, at most the vocabulary; with a point, for example 0.99: as many as cover that "
        "share of the counted tokens",
        unit="tokens or share",
        tune=("512", "1024", "2048", "4096", "8192", "16384", "32768"),
    )
    frequencies: Path | None = option(
        None, help="token frequencies: safetensors or JSON; none for those shipped with specframe"
    )
    text: Path | None = option(None, help="text to count token frequencies in, with the target's tokenizer")

    def __attrs_post_init__(self) -> None:
        _parse_size(self.size)


class StaticVocabulary(VocabularyBuilder):
    """Pins its ids, so that they are gathered once and stay in place between requests.

    Args:
        ids: what is active [n] int64.
    """

    takes_batches = True

    def __init__(self, ids: Tensor) -> None:
        self.pinned_ids, self.capacity = ids, len(ids)


def select_ids(
    size: int | float, frequencies: TokenFrequencies, required_ids: Tensor, vocab_size: int
) -> Tensor:
    """Return the ids of a static map, the required ones first, then by falling frequency [n] int64.

    A number of tokens counts the required ids; where too few tokens have counts, the rest of the vocabulary
    fills up in order of id, in which byte-pair encodings list frequent merges first. A share takes the
    fewest tokens that reach it, and adds the required ids.

    Raises:
        UsageError: the number does not hold the required ids, or a share is asked of a bare list of ids.
    """
    if isinstance(size, float):
        if frequencies.counts is None:
            raise UsageError(
                f"{frequencies.source} has no counts to take a coverage share of; allowed: a number of tokens"
            )
        covered = frequencies.counts.double().cumsum(0) / frequencies.counts.sum()
        # The tolerance keeps rounding in the sum from asking for one token more.
        kept = int((covered < size - 1e-12).sum()) + 1
        return _first_distinct(torch.cat([required_ids, frequencies.token_ids[:kept]]))
    size = min(size, vocab_size)
    if size < len(required_ids):
        raise UsageError(
            f"size {size} does not hold the {len(required_ids)} ids that end a generation or are special; "
            f"allowed: at least {len(required_ids)}"
        )
    ranked = torch.cat([required_ids, frequencies.token_ids, torch.arange(vocab_size)])
    return _first_distinct(ranked)[:size]


def _first_distinct(ids: Tensor) -> Tensor:
    """Return ``ids`` [n] without repetitions, each where it stands first."""
    distinct, index = torch.unique(ids, return_inverse=True)
    first = torch.full_like(distinct, len(ids)).scatter_reduce_(0, index, torch.arange(len(ids)), "amin")
    return ids[first.sort().values]


def _build(options: StaticOptions, context: BuildContext) -> StaticVocabulary:
    frequencies = token_frequencies(context, options.frequencies, options.text)
    required_ids = context.required_ids
    ids = select_ids(_parse_size(options.size), frequencies, required_ids.cpu(), context.target.vocab_size)
    return StaticVocabulary(ids.to(required_ids.device))


def _diagnose(request: DoctorRequest) -> Iterator[Finding]:
    """Check the token frequencies that ship for the target."""
    if request.target is None:
        return
    subject = "token frequencies"
    try:
        found = shipped_frequencies(request.target, request.data)
    except UsageError as error:
        yield Finding(subject, False, str(error))
        return
    if found is None:
        yield Finding(subject, None, f"none ship for the tokenizer of {request.target.name}")
    else:
        yield Finding(subject, True, f"{len(found.token_ids)} tokens, the tokenizer fits; {found.source}")


COMPONENT = Component(
    name="static",
    summary="the most frequent tokens, the same for every request (FR-Spec)",
    options=StaticOptions,
    factory=_build,
    diagnose=_diagnose,
)

"""Which tokens are the frequent ones: by falling frequency, with counts where they are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import attrs
import torch
from torch import Tensor

from specframe.errors import UsageError


class Owner(Protocol):
    """Whose tokens a map is about, such as a target."""

    @property
    def name(self) -> str:
        """What users call it."""
        ...

    @property
    def vocab_size(self) -> int:
        """V."""
        ...

    @property
    def tokenizer_fingerprint(self) -> str:
        """Hash of the mapping from tokens to ids."""
        ...


@attrs.frozen(slots=True, eq=False)
class TokenFrequencies:
    """Tokens by falling frequency.

    Attributes:
        token_ids: n distinct ids, the most frequent first [n] int64.
        counts: how often each occurs [n] int64; None where only the order is known.
        source: what was counted, for people.
    """

    token_ids: Tensor
    counts: Tensor | None
    source: str

    @classmethod
    def counted(cls, ids: Tensor, source: str) -> TokenFrequencies:
        """Return how often each of ``ids`` [n] int64 occurs."""
        token_ids, counts = torch.unique(ids, return_counts=True)
        return cls.by_count(token_ids, counts, source)

    @classmethod
    def by_count(cls, token_ids: Tensor, counts: Tensor, source: str) -> TokenFrequencies:
        """Sort by falling count, equal counts by rising id: the order never depends on the input's."""
        token_ids, order = token_ids.sort()
        counts, by_count = counts[order].sort(descending=True, stable=True)
        return cls(token_ids[by_count], counts, source)

    @property
    def ranked(self) -> bool:
        """Whether the order says what is frequent; without counts rising ids say nothing."""
        return self.counts is not None or not bool((self.token_ids.diff() > 0).all())

    def check(self, name: str, vocab_size: int) -> None:
        """Raise ``UsageError`` unless this is a map for a vocabulary of V tokens.

        Args:
            name: of the file, for the error.
            vocab_size: V.
        """
        ids, counts = self.token_ids, self.counts
        if ids.ndim != 1 or len(ids) == 0:
            raise UsageError(f"{name} lists no tokens; allowed: a flat list with at least one id")
        if counts is not None and counts.shape != ids.shape:
            raise UsageError(f"{name} has {len(counts)} counts for {len(ids)} ids")
        if counts is not None and (int(counts[-1]) < 0 or bool((counts.diff() > 0).any())):
            raise UsageError(f"{name} has negative or rising counts; allowed: falling counts from 0")
        if counts is not None and int(counts[0]) == 0:
            raise UsageError(f"{name} counted nothing: every count is 0")
        if counts is not None and float(counts.double().sum()) >= 2**63:
            raise UsageError(
                f"{name} has counts that add up to more than 64 bits hold; allowed: less than {2**63}"
            )
        if not 0 <= int(ids.min()) <= int(ids.max()) < vocab_size:
            raise UsageError(
                f"{name} has ids from {int(ids.min())} to {int(ids.max())}; allowed: 0 to {vocab_size - 1}"
            )
        if len(torch.unique(ids)) < len(ids):
            raise UsageError(f"{name} lists an id twice")

    def lacking(self, required_ids: Tensor) -> Tensor:
        """Return those of ``required_ids`` [n] that are not in the map."""
        return required_ids[~torch.isin(required_ids, self.token_ids)]

    def with_ids(self, ids: Tensor) -> TokenFrequencies:
        """Return the map with ``ids`` [n], none of them in it, behind the others; they count 0."""
        counts = None if self.counts is None else torch.cat([self.counts, torch.zeros_like(ids)])
        return TokenFrequencies(torch.cat([self.token_ids, ids]), counts, self.source)

    def only(self, ids: Tensor) -> TokenFrequencies:
        """Return the part of the map that is about ``ids`` [n], in the map's order."""
        kept = torch.isin(self.token_ids, ids)
        counts = None if self.counts is None else self.counts[kept]
        return TokenFrequencies(self.token_ids[kept], counts, self.source)

    def covered(self) -> Tensor:
        """Return the share of the counted tokens that the first 1, 2, ... ids cover [n] float64.

        Raises:
            UsageError: nothing was counted.
        """
        if self.counts is None:
            raise UsageError(
                f"{self.source} has no counts to take a coverage share of; allowed: a number of tokens"
            )
        return self.counts.double().cumsum(0) / self.counts.sum()

    def covering(self, share: float) -> int:
        """Return how many of the first ids cover a share; raises as ``covered`` does."""
        # The tolerance keeps rounding in the sum from asking for one token more.
        return int((self.covered() < share - 1e-12).sum()) + 1

    def coverage_of(self, ids: Tensor) -> float:
        """Return the share of ``ids`` [n], at least one, that are in the map."""
        return float(torch.isin(ids, self.token_ids).double().mean())


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
        kept = frequencies.covering(size)
        return first_distinct([required_ids, frequencies.token_ids[:kept]])
    size = min(size, vocab_size)
    if size < len(required_ids):
        raise UsageError(
            f"size {size} does not hold the {len(required_ids)} ids that end a generation or are special; "
            f"allowed: at least {len(required_ids)}"
        )
    return first_distinct([required_ids, frequencies.token_ids, torch.arange(vocab_size)])[:size]


def first_distinct(parts: Iterable[Tensor]) -> Tensor:
    """Return the ids of tensors [n] one after another without repetitions, each where it stands first."""
    ids = torch.cat(list(parts))
    distinct, index = torch.unique(ids, return_inverse=True)
    first = torch.full_like(distinct, len(ids)).scatter_reduce_(0, index, torch.arange(len(ids)), "amin")
    return ids[first.sort().values]

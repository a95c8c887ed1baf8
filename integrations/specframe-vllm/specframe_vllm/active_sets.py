"""Which active set the drafts of a request go over: one for all of them, or one for each."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch

from specframe.errors import UsageError
from specframe.vocabulary.memory import MemoryUse, measure
from specframe.vocabulary.store import VocabularyStore


class ActiveSets(ABC):
    """The active sets of an engine; all memory is there from the start.

    Attributes:
        stores: all of them.
    """

    stores: Sequence[VocabularyStore]

    @property
    @abstractmethod
    def room(self) -> float:
        """How many requests may begin before another one has to end."""

    @abstractmethod
    def begin(self, request: str) -> VocabularyStore:
        """Return the active set of a request that starts."""

    @abstractmethod
    def of(self, request: str) -> VocabularyStore:
        """Return the active set of a request."""

    @abstractmethod
    def end(self, request: str) -> None:
        """Give back what a request had; it may have had nothing."""

    @abstractmethod
    def draft_for(self, requests: Sequence[str]) -> None:
        """Take the requests that are drafted for next, in the order of their rows."""

    @abstractmethod
    def groups(self, rows: int) -> list[tuple[slice, VocabularyStore]]:
        """Return which of so many hidden states are drafted from which active set."""

    def memory(self) -> MemoryUse:
        """Return what they take."""
        return measure(self.stores)

    def buffer_bytes(self, requests: int) -> int:
        """Return what buffers will take that gather backends make when a batch size first comes up.

        They grow with the number of rows, so one row says it. The first set may see every number of rows up
        to ``requests``, the others see those of one request.
        """
        head, before = self.stores[0].output_head, self.memory().packed_bytes
        one = torch.zeros(1, head.hidden_size, dtype=head.dtype, device=head.device)
        self.stores[0].head.topk(one, 1)
        each = self.memory().packed_bytes - before
        return each * (requests * (requests + 1) // 2 + len(self.stores) - 1)


class SharedSet(ActiveSets):
    """One active set, a union over all requests, of which the least recently admitted tokens leave.

    A request never changes another's output: only the target decides that. It may change how much of
    another's drafts is accepted.

    Args:
        store: is never reset.
        limit: bytes that it may take.

    Raises:
        UsageError: it takes more.
    """

    def __init__(self, store: VocabularyStore, limit: float = math.inf) -> None:
        use = measure([store])
        taken = use.packed_bytes + use.store_bytes
        if taken > limit:
            raise UsageError(
                f"an active set of {store.active.capacity} slots takes {taken / 2**30:.3g} GiB; allowed: "
                f"{limit / 2**30:.3g} GiB, set by memory; lower capacity"
            )
        self._store = store
        self.stores = (store,)

    @property
    def room(self) -> float:
        """As many as there are."""
        return math.inf

    def begin(self, request: str) -> VocabularyStore:
        """Return the one active set."""
        return self._store

    def of(self, request: str) -> VocabularyStore:
        """Return the one active set."""
        return self._store

    def end(self, request: str) -> None:
        """Keep the tokens of the request until others take their slots."""

    def draft_for(self, requests: Sequence[str]) -> None:
        """Do nothing: all rows are drafted from one active set."""

    def groups(self, rows: int) -> list[tuple[slice, VocabularyStore]]:
        """Return all rows at once."""
        return [(slice(0, rows), self._store)]


class SetPerRequest(ActiveSets):
    """An active set for each request that runs, emptied when the next one takes it over.

    Args:
        make: returns an empty active set.
        requests: how many may run at once.
        limit: bytes that all of them may take together.

    Raises:
        UsageError: they would take more.
    """

    def __init__(self, make: Callable[[], VocabularyStore], requests: int, limit: float) -> None:
        # What rows without a request are drafted from, such as those of a warm-up: pinned tokens alone.
        self._nobody = make()
        use = measure([self._nobody])
        each = use.packed_bytes + use.store_bytes
        if each * (requests + 1) > limit:
            raise UsageError(
                f"an active set for each of {requests} requests takes "
                f"{each * (requests + 1) / 2**30:.3g} GiB ({each / 2**20:.1f} MiB each); allowed: "
                f"{limit / 2**30:.3g} GiB, set by memory; lower max_num_seqs or capacity, or share one set"
            )
        self._free = [make() for _ in range(requests)]
        self.stores = (self._nobody, *self._free)
        self._of: dict[str, VocabularyStore] = {}
        self._rows: list[VocabularyStore] = []

    @property
    def room(self) -> float:
        """How many active sets no request has."""
        return len(self._free)

    def begin(self, request: str) -> VocabularyStore:
        """Return an active set with nothing but the pinned tokens."""
        self.end(request)
        store = self._free.pop()
        store.reset()
        self._of[request] = store
        return store

    def of(self, request: str) -> VocabularyStore:
        """Return the active set of a request; one that has not begun has the pinned tokens."""
        return self._of.get(request, self._nobody)

    def end(self, request: str) -> None:
        """Let another request have the active set."""
        store = self._of.pop(request, None)
        if store is not None:
            self._free.append(store)

    def draft_for(self, requests: Sequence[str]) -> None:
        """Note the active set of each row."""
        self._rows = [self.of(request) for request in requests]

    def groups(self, rows: int) -> list[tuple[slice, VocabularyStore]]:
        """Return row by row; methods that draft all tokens at once have several rows for a request."""
        each = rows // max(len(self._rows), 1)
        if not self._rows or rows != each * len(self._rows):
            return [(slice(0, rows), self._nobody)]
        return [(slice(i * each, (i + 1) * each), store) for i, store in enumerate(self._rows)]

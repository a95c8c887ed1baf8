"""What vLLM's proposers ask a draft model for: its next tokens, or its logits, over the active sets."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from specframe.contracts.row_map import RowMap
from specframe.contracts.screen import Screen
from specframe.ops.row_maxima import row_max
from specframe.vocabulary.store import VocabularyStore
from specframe_vllm.active_sets import ActiveSets
from specframe_vllm.draft_rows import DraftRows
from specframe_vllm.parallel import best_of_ranks, rows_of_ranks


class ActiveHead:
    """The draft model's LM head, cut down to the active sets.

    Nothing is read on the host, and what changes between two calls of one shape lies in tensors that stay
    where they are: a CUDA graph may hold a call.

    Args:
        rows: the LM head.
        sets: of the engine.
        screen: bound to the LM head: each hidden state is drafted from its candidates too; on one rank only.

    Attributes:
        screened: how many candidates a state gets.
        seconds: that its calls took on the host.
        calls: how many there were.
        ranks: how many hold a part of the active sets.
    """

    def __init__(self, rows: DraftRows, sets: ActiveSets, screen: Screen | None = None) -> None:
        self._rows, self._sets, self._screen = rows, sets, screen
        self.screened = 0 if screen is None else screen.width
        self._row_map: RowMap = rows.head.row_map
        self.ranks = rows.ranks
        self.seconds, self.calls = 0.0, 0

    def get_top_tokens(self, hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return the best active token of each hidden state [N] int64, for [N, H].

        Scale and soft cap do not change which one is best. What MTP models say about the step does not
        matter: their layers share one LM head here.
        """
        start = time.perf_counter()
        split = self._rows.ranks > 1
        groups = self._sets.groups(len(hidden))
        if split:
            parts = [self._best_here(store, hidden[rows]) for rows, store in groups]
            values, tokens = (torch.cat(part) for part in zip(*parts, strict=True))
            tokens = best_of_ranks(values, tokens, self._rows.ranks)
        else:
            tokens = torch.cat([self._best(store, hidden[rows]) for rows, store in groups])
        self.seconds += time.perf_counter() - start
        self.calls += 1
        return tokens

    def compute_logits(self, hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return logits over the target's vocabulary [N, V] float32, -inf outside the active set."""
        start = time.perf_counter()
        groups = self._sets.groups(len(hidden))
        logits = torch.cat([self._by_row(store, hidden[rows]) for rows, store in groups])
        rows = self._rows
        if rows.ranks > 1:
            logits = rows_of_ranks(logits, rows.rows_per_rank, rows.total)
        if rows.token_ids is not None:
            full = logits.new_full((len(logits), self._row_map.vocab_size), -torch.inf)
            logits = full.index_copy_(1, rows.token_ids, logits)
        self.seconds += time.perf_counter() - start
        self.calls += 1
        return logits

    def _best(self, store: VocabularyStore, hidden: Tensor) -> Tensor:
        """Return the best active token of each hidden state [N]; without an active token anything will do."""
        if self._screen is not None:
            found = self._screen.screen_topk(hidden, 1)
            return store.head.candidate_topk(hidden, 1, found)[1][:, 0].clamp(min=0)
        if hidden.is_cpu:  # log-probabilities, which nobody asks for, would be a quarter of the call
            return self._best_here(store, hidden)[1]
        return store.head.topk(hidden, 1)[1][:, 0].clamp(min=0)

    def _best_here(self, store: VocabularyStore, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the largest logit among the active tokens of this rank [N], and whose it is [N]."""
        values, slots = row_max(store.head.slot_logits(hidden, store.active.capacity))
        return values, self._row_map.tokens(store.active.token_of[slots].long())

    def _by_row(self, store: VocabularyStore, hidden: Tensor) -> Tensor:
        """Return the logits of this rank's rows [N, rows] float32, -inf outside the active set."""
        by_slot = store.head.slot_logits(hidden, store.active.capacity)
        slots = store.active.slot_of
        by_row = by_slot.index_select(1, slots.clamp(min=0)).masked_fill(slots < 0, -torch.inf)
        if self._screen is None:
            return by_row
        found = self._screen.screen(hidden).rows
        exact = self._rows.head.candidate_logits(hidden, found)
        # One more column takes what is none.
        by_row = torch.nn.functional.pad(by_row, (0, 1), value=-torch.inf)
        return by_row.scatter(1, torch.where(found < 0, by_row.shape[1] - 1, found), exact)[:, :-1]

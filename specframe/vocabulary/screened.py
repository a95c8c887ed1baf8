"""Drafting over what a screen finds for each hidden state, united with an active set."""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.called.drafter import SeenHead
from specframe.contracts.called.screen import CalledScreen
from specframe.contracts.faults import ComponentError
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.screen import Candidates, Screen, StateSource
from specframe.vocabulary.draft_head import DraftHead
from specframe.vocabulary.store import VocabularyStore


class ScreenedHead(SeenHead):
    """The drafter's LM head over candidates and active tokens; the drafter sees one head.

    Args:
        head: over the active set, which may be empty.
        screen: bound to the same LM head.
        output_head: the LM head.
        active: the active set, in rows of the LM head.

    Attributes:
        levels: candidates of each call since the draft began, each [N, C].
    """

    def __init__(
        self, head: DraftHead, screen: CalledScreen, output_head: OutputHead, active: ActiveSet
    ) -> None:
        self._head, self._screen = head, screen
        self._output_head, self._active = output_head, active
        self.levels: list[Tensor] = []
        self._found = self._columns = active.token_of.long()[:0]

    def fault(self) -> ComponentError | None:
        """Return what the gather backend answered wrongly, or None."""
        return self._head.fault()

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        """Do nothing: it is made of what is bound."""

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        """Copy the rows ``ids`` [n] of the LM head into ``slots`` [n]."""
        self._head.fetch(slots, ids)

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and token ids [N, k] int64 of the k best."""
        found = self.candidates(hidden, k)
        try:
            return self._head.candidate_topk(hidden, k, found)
        except Exception as error:
            self._blame_for_rows(found.rows, error)
            raise

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of whatever any of the states drafts from [N, columns] float32; a host read.

        The columns are the active tokens by slot, and then the candidates of all states since the draft
        began, so that a later call of a draft adds columns behind those before. A state that may not draft a
        column's token has -inf there.
        """
        own = self._head.logits(hidden)
        found_rows = self.candidates(hidden).rows
        self._blame_for_rows(found_rows)
        rows = self._beside_active(found_rows)
        there = rows >= 0
        new = torch.unique(rows[there])
        self._found = found = torch.cat([self._found, new[~torch.isin(new, self._found)]])
        exact = self._output_head.candidate_logits(hidden, rows)
        in_order, order = found.sort()
        # One more column takes what is none; where -1 stands in order says nothing.
        order = torch.cat([order, order.new_tensor([len(found)])])
        column = torch.where(there, order[torch.searchsorted(in_order, rows)], len(found))
        others = exact.new_full((len(hidden), len(found) + 1), -torch.inf).scatter_(1, column, exact)
        self._columns = torch.cat([self._active.token_of[: own.shape[1]].long(), found])
        return torch.cat([own, others[:, :-1]], dim=1)

    def begin_draft(self) -> None:
        """Forget the candidates of the draft before."""
        self._head.begin_draft()
        self.levels.clear()
        self._found = self._found[:0]

    def held(self) -> tuple[Tensor, ...]:
        """Return what backend and screen hold."""
        return (*self._head.held(), *self._screen.held())

    @property
    def columns(self) -> Tensor:
        """Rows of the LM head that the columns of the last ``logits`` are [columns] int64."""
        return self._columns

    def candidates(self, hidden: Tensor, k: int | None = None) -> Candidates:
        """Return the candidates of each state [N, H], of which the k best are drafted, and note them.

        Raises:
            ComponentError: they are no rows [N, C] int64, or what comes with them is of another shape.
        """
        found = self._screen.screen(hidden) if k is None else self._screen.screen_topk(hidden, k)
        self.levels.append(found.rows)
        return found

    def _blame_for_rows(self, rows: Tensor, cause: Exception | None = None) -> None:
        """Raise a ComponentError if a row [N, C] is beyond the LM head; it is a host read."""
        vocab_size = self._output_head.vocab_size
        if rows.numel() and int(rows.max()) >= vocab_size:
            raise self._screen.owner.fault(
                f"screens row {int(rows.max())}; allowed: -1 for none, 0 to {vocab_size - 1}"
            ) from cause

    def _beside_active(self, rows: Tensor) -> Tensor:
        """Return rows [N, C] with -1 for those that are active."""
        return rows.masked_fill(self._active.slot_of[rows.clamp(min=0)] >= 0, -1)


class ScreenedVocabulary:
    """The ``DraftVocabulary`` of a screen and an active set, which may have no slots.

    Args:
        store: the active set, over the LM head that is screened.
        screen: is bound to the LM head.
        states: what the screen is fitted to.

    Attributes:
        head: over both, as the drafter sees it.
        screen: the screen.
    """

    def __init__(self, store: VocabularyStore, screen: Screen, states: StateSource) -> None:
        self.output_head, self.screen, self._store = store.output_head, CalledScreen.of(screen), store
        self.head_tensors, self.device = store.head_tensors, store.device
        self.screen.bind(store.output_head, states)
        self.head = ScreenedHead(store.head, self.screen, store.output_head, store.active)

    @property
    def active_size(self) -> Tensor:
        """How many rows a state drafts from: K and C, [] int64 on the device."""
        return self._store.active.count + self.screen.width

    @property
    def rows_fetched(self) -> Tensor:
        """LM-head rows fetched for the active set, [] int64 on the device."""
        return self._store.rows_fetched

    @property
    def unknown_ids(self) -> int:
        """How many ids of this request's strategy the LM head has no row for; a host read."""
        return self._store.unknown_ids

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Those of the active set."""
        return self._store.tensors

    def covered(self, ids: tuple[int, ...]) -> Tensor:
        """Return for every emitted id whether the last draft could have proposed it [n] bool.

        The i-th id belongs to the i-th level: it is active, or a candidate of any state there. What no level
        was drafted for counts as covered, since nothing was screened.
        """
        asked = torch.tensor(ids).to(self.output_head.device, non_blocking=True)
        rows = self.output_head.row_map.rows(asked)
        screened = [
            (level == row).any() & (row >= 0)
            for level, row in zip(self.head.levels, rows.unbind(), strict=False)
        ]
        covered = self._store.contains(asked)
        covered[len(screened) :] = True
        if screened:
            covered[: len(screened)] |= torch.stack(screened)
        return covered

    def proposable(self, ids: tuple[int, ...]) -> Tensor:
        """Return which ids have a row [n] bool: the screen may choose any."""
        return self.output_head.row_map.knows(
            torch.tensor(ids).to(self.output_head.device, non_blocking=True)
        )

    def active_ids(self, count: int) -> Tensor:
        """Return the tokens of the first columns of the head's last ``logits`` [count] int64."""
        return self.output_head.row_map.tokens(self.head.columns[:count])

    def begin_draft(self) -> None:
        """Forget the candidates of the draft before."""
        self.head.begin_draft()

    def reset(self) -> None:
        """Begin a request."""
        self._store.reset()

    def admit(self, ids: Tensor) -> None:
        """Make ``ids`` [n] active."""
        self._store.admit(ids)

    def drop(self, ids: Tensor) -> None:
        """Make ``ids`` [n] inactive."""
        self._store.drop(ids)

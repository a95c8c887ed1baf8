"""What drafts go over: the tokens that a drafter may propose, and its LM head over them."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from specframe.contracts.called.drafter import SeenHead


class Membership(Protocol):
    """Which tokens may be proposed, and what that took; reading it changes nothing."""

    @property
    def active_size(self) -> Tensor:
        """K, how many tokens may be proposed now, [] int64 on the device."""
        ...

    @property
    def rows_fetched(self) -> Tensor:
        """LM-head rows fetched since the request began, [] int64 on the device."""
        ...

    @property
    def unknown_ids(self) -> int:
        """How many ids of this request's strategy the drafter's LM head has no row for; a host read."""
        ...

    def covered(self, ids: tuple[int, ...]) -> Tensor:
        """Return for every emitted id whether the last draft could have proposed it [n] bool, on the device.

        With an active set that is whether it is active. Each id comes after those before it.
        """
        ...


class DraftVocabulary(Membership, Protocol):
    """An active set, all rows of an LM head, or every token where there is no head."""

    @property
    def head_tensors(self) -> tuple[Tensor, ...]:
        """The drafter's full LM head, with the copy in the order that the CPU multiplies by."""
        ...

    @property
    def device(self) -> torch.device:
        """Where drafts are made."""
        ...

    @property
    def head(self) -> SeenHead:
        """The gather backend, as the drafter sees it."""
        ...

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Whatever says which tokens are active."""
        ...

    def proposable(self, ids: tuple[int, ...]) -> Tensor:
        """Return for every id whether a draft may propose it now [n] bool, on the device."""
        ...

    def active_ids(self, count: int) -> Tensor:
        """Return the tokens of the first columns of the head's ``logits`` [count] int64."""
        ...

    def begin_draft(self) -> None:
        """Begin a draft."""
        ...

    def reset(self) -> None:
        """Begin a request."""
        ...

    def admit(self, ids: Tensor) -> None:
        """Make ``ids`` [n] active."""
        ...

    def drop(self, ids: Tensor) -> None:
        """Make ``ids`` [n] inactive."""
        ...

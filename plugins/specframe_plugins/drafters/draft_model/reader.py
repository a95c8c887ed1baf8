"""What a draft model reads of a request, while it has positions for it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from specframe.contracts.tree import Verdict
from specframe_plugins.drafters.draft_model.backbone import ModelBackbone


class Reader:
    """Has a draft model read what was emitted; beyond its positions it reads nothing more.

    Args:
        backbone: the draft model.
        longest: how many tokens it may read, so that there are positions for what is drafted.
        drafts: whether anything is drafted at all.
    """

    def __init__(self, backbone: ModelBackbone, longest: int, *, drafts: bool) -> None:
        self._backbone, self._longest, self._drafts = backbone, longest, drafts
        self._accepted_ids: tuple[int, ...] = ()
        self._goes_on = False

    @property
    def remembered(self) -> int:
        """How many tokens of prompt and output were read and have one after them."""
        return max(self._backbone.known - 1, 0)

    def begin(self, prompt_ids: Tensor, kept: int) -> None:
        """Begin a request [T] whose first ``kept`` tokens were read."""
        self._backbone.keep(kept)
        self._goes_on = self._drafts
        self.skip(prompt_ids[kept:])

    def skip(self, token_ids: Tensor) -> None:
        """Read tokens [n] that nothing is drafted from."""
        self._accepted_ids = ()
        if self._can_read(token_ids):
            self._backbone.remember(token_ids)

    def emit(self, root: int) -> bool:
        """Have the accepted tokens and a root read by the next step; return whether there is one."""
        ids = (*self._accepted_ids, root)
        return self._can_read(ids) and self._backbone.emit(ids)

    def accept(self, verdict: Verdict) -> None:
        """Take over accepted tokens, for the next step to read."""
        self._accepted_ids = verdict.accepted_ids

    def _can_read(self, ids: Sequence[int] | Tensor) -> bool:
        """Return whether the model has positions for tokens more; if not, nothing is read any more."""
        self._goes_on = self._goes_on and self._backbone.length_with(ids) <= self._longest
        return self._goes_on

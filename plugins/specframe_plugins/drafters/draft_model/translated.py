"""A draft model with another tokenizer as the backbone of a draft step."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import torch
from torch import Tensor

from specframe.model.language_model import LanguageModel
from specframe_plugins.drafters.draft_model.backbone import ModelBackbone
from specframe_plugins.drafters.draft_model.translation import Translation


class TranslatedBackbone(ModelBackbone):
    """Reads the target's tokens as the draft model's; what is drafted is in the draft model's.

    The host translates, and reads the prompt for it.

    Args:
        model: the draft model.
        translation: into its tokens.
        beams: b, nodes of every drafted level.
        levels: drafted levels that go through the model.
    """

    def __init__(self, model: LanguageModel, translation: Translation, *, beams: int, levels: int) -> None:
        super().__init__(model, beams=beams, levels=levels)
        self._translation = translation
        self._ends: list[int] = []  # how many own tokens there are up to each of the target's

    @property
    def known(self) -> int:
        """How many tokens of the target were read."""
        return bisect_right(self._ends, self.committed)

    @property
    def root(self) -> Tensor:
        """The last token emitted [1] int64, one of the target's."""
        return self._root

    def length_with(self, ids: Sequence[int] | Tensor) -> int:
        """Return how many own tokens were read after n of the target's more."""
        _, ends = self.translated(ids)
        return ends[-1] if ends else self.committed

    def keep(self, length: int) -> None:
        """Forget all but the first ``length`` tokens of the target."""
        del self._ends[length:]
        super().keep(self._ends[-1] if self._ends else 0)

    def remember(self, ids: Tensor) -> None:
        """Read tokens of the target [n] that nothing is drafted from."""
        self._remember(*self.translated(ids))

    def emit(self, ids: Sequence[int]) -> bool:
        """Take the tokens of the target that were emitted, as in ``ModelBackbone``."""
        own_ids, ends = self.translated(ids)
        before = [*self._ends[-1:], *ends[:-1]] or [0]
        if ends[-1] == before[-1]:
            self._remember(own_ids, ends)  # the draft model has no tokens for the last one
            return False
        self._ends += ends
        self._root = torch.tensor(ids[-1:]).to(self.device, non_blocking=True)
        return super().emit(own_ids)

    def translated(self, ids: Sequence[int] | Tensor) -> tuple[list[int], list[int]]:
        """Return own tokens for the target's next ones, and how many there are up to each of these."""
        prefix, known = self._translation.prefix, len(self._ends)
        own_ids: list[int] = []
        ends: list[int] = []
        begins = self._ends[-1] if self._ends else 0
        for after, token_id in enumerate(ids.tolist() if isinstance(ids, Tensor) else ids, start=known):
            if not after:
                own_ids += prefix
            empty = begins + len(own_ids) <= len(prefix)
            own_ids += self._translation.reads(token_id, after=after, empty=empty)
            ends.append(begins + len(own_ids))
        return own_ids, ends

    def _remember(self, own_ids: list[int], ends: list[int]) -> None:
        self._ends += ends
        if own_ids:
            super().remember(torch.tensor(own_ids).to(self.device, non_blocking=True))


class SharedBackbone(TranslatedBackbone):
    """Drafts tokens that the target has too, in the target's ids; arguments as for ``TranslatedBackbone``."""

    def __init__(self, model: LanguageModel, translation: Translation, *, beams: int, levels: int) -> None:
        super().__init__(model, translation, beams=beams, levels=levels)
        row_map = model.output_head.row_map
        self._own_of = torch.zeros(row_map.vocab_size, dtype=torch.int64, device=self.device)
        self._own_of[translation.token_ids] = translation.own_ids

    def extend(self, token_ids: Tensor, rows: Tensor, level: int) -> Tensor:
        """Read a level of drafted tokens of the target [b], as in ``Backbone``."""
        return super().extend(self._own_of[token_ids], rows, level)

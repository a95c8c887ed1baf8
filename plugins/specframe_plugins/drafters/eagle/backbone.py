"""An EAGLE head as the backbone of a draft step."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from specframe_plugins.drafters.eagle.adaptation import Adaptation, LevelRecord
from specframe_plugins.drafters.eagle.cached import CachedLayer
from specframe_plugins.drafters.eagle.inputs import StepInputs


class PairBackbone:
    """Pairs of an embedding and a feature, predicted where the target's is not known yet.

    Args:
        head: the EAGLE head and its cache.
        embed: token ids [n] to embeddings [n, H] in the head's dtype.
        inputs: what changes from step to step.
        adaptation: corrects what is predicted; None for nothing.
        record: notes what is predicted, before it is corrected; beside an adaptation.

    Attributes:
        span: how many committed pairs the next step looks at.
    """

    def __init__(
        self,
        head: CachedLayer,
        embed: Callable[[Tensor], Tensor],
        inputs: StepInputs,
        adaptation: Adaptation | None = None,
        record: LevelRecord | None = None,
    ) -> None:
        self._head, self._embed, self._inputs = head, embed, inputs
        self._adaptation, self._record = adaptation, record
        self.span = 0

    @property
    def root(self) -> Tensor:
        """The token of the last pair [1] int64."""
        root: Tensor = self._inputs.token_ids.index_select(0, self._inputs.last)
        return root

    def read(self) -> Tensor:
        """Commit the pairs of the inputs, as in ``Backbone``."""
        inputs = self._inputs
        predicted = self._head.commit(self._embed(inputs.token_ids), inputs.features, inputs, self.span)
        if self._record is not None:
            self._record.begin(predicted)
        return self._corrected(predicted)

    def extend(self, token_ids: Tensor, rows: Tensor, level: int) -> Tensor:
        """Add a level with the features predicted for its parents, as in ``Backbone``."""
        embeddings = self._embed(token_ids)
        predicted = self._head.extend_level(embeddings, self._predicted[rows], rows, level)
        if self._record is not None:
            self._record.add(token_ids, rows, level, predicted)
        return self._corrected(predicted)

    def _corrected(self, predicted: Tensor) -> Tensor:
        """Keep what the next level goes on from, and return what the LM head reads [n, H]."""
        if self._adaptation is not None:
            predicted = self._adaptation.corrected(predicted)
        self._predicted = predicted
        return self._head.for_head(predicted)

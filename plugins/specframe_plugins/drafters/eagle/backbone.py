"""An EAGLE head as the backbone of a draft step."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from specframe_plugins.drafters.eagle.cached import CachedLayer
from specframe_plugins.drafters.eagle.inputs import StepInputs


class PairBackbone:
    """Pairs of an embedding and a feature, predicted where the target's is not known yet.

    Args:
        head: the EAGLE head and its cache.
        embed: token ids [n] to embeddings [n, H] in the head's dtype.
        inputs: what changes from step to step.

    Attributes:
        span: how many committed pairs the next step looks at.
    """

    def __init__(self, head: CachedLayer, embed: Callable[[Tensor], Tensor], inputs: StepInputs) -> None:
        self._head, self._embed, self._inputs = head, embed, inputs
        self.span = 0

    @property
    def root(self) -> Tensor:
        """The token of the last pair [1] int64."""
        root: Tensor = self._inputs.token_ids.index_select(0, self._inputs.last)
        return root

    def read(self) -> Tensor:
        """Commit the pairs of the inputs, as in ``Backbone``."""
        inputs = self._inputs
        self._predicted = self._head.commit(self._embed(inputs.token_ids), inputs.features, inputs, self.span)
        return self._head.for_head(self._predicted)

    def extend(self, token_ids: Tensor, rows: Tensor, level: int) -> Tensor:
        """Add a level with the features predicted for its parents, as in ``Backbone``."""
        embeddings = self._embed(token_ids)
        self._predicted = self._head.extend_level(embeddings, self._predicted[rows], rows, level)
        return self._head.for_head(self._predicted)

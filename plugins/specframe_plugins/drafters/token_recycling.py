"""The drafter ``token-recycling``: no head; what the target found likely after a token is drafted again.

Source: Token Recycling (Luo et al., arXiv 2408.08696): an adjacency matrix from every token to the target's
top k after it, filled from all verified nodes, the rejected ones too; a tree is searched in it breadth first.
Here the tree is grown by how often a rank was right, and rows are kept for pairs of tokens besides, which say
more where they are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from specframe.registry.components import BuildContext
from specframe_plugins.drafters.components.token_recycling import TokenRecyclingOptions
from specframe_plugins.sources.drafter import SourceDrafter
from specframe_plugins.sources.source import Evidence, Guess, Seen, Source
from specframe_plugins.sources.table import BoundedTable

# How often each rank is expected to be right after one known token and after two, on 42 texts of the demo
# models; later ranks as the last of these.
_EXPECTED = {1: (0.3, 0.09, 0.045, 0.04), 2: (0.7, 0.09, 0.03, 0.02)}
_WEIGHT = 4.0


class RecyclingSource(Source):
    """Guesses the target's earlier top ids after the last token, or after the last two.

    Args:
        topk: of the target's ids to keep.
        rows: most rows to keep for single tokens, and as many for pairs.
        context: 1 for single tokens, 2 for pairs too.
        prompt_window: last prompt positions to learn from.
        depth: tokens in a row at most.
    """

    name = "recycled"

    def __init__(self, topk: int, rows: int, context: int, prompt_window: int, depth: int) -> None:
        self.harvest_topk, self.prompt_window, self.depth = topk, prompt_window, depth
        self._context = context
        self._after: BoundedTable[tuple[int, ...], Sequence[int]] = BoundedTable(rows * context)
        self._end: tuple[int, ...] = ()

    def begin(self, token_ids: Sequence[int]) -> None:
        """Begin with a prompt [T], of which only the last tokens count."""
        self._end = tuple(token_ids[-2:])

    def read(self, token_ids: Sequence[int]) -> None:
        """Note the last tokens."""
        self._end = (*self._end, *token_ids)[-2:]

    def learn_prompt(self, token_ids: Sequence[int], top_ids: Sequence[Sequence[int]]) -> None:
        """Keep the rows of the last prompt positions."""
        for at, row in enumerate(top_ids):
            self._keep(token_ids[max(at - 1, 0) : at + 1], row)

    def learn(self, seen: Seen) -> None:
        """Keep the row of every node."""
        for token_id, parent, row in zip(seen.token_ids, seen.parents, seen.top_ids, strict=True):
            before = seen.before if parent < 0 else seen.token_ids[parent]
            self._keep((before, token_id), row)

    def forget(self) -> None:
        """Forget all rows."""
        self._after.clear()

    def after(self, path: Sequence[int], state: object) -> Iterable[Guess]:
        """Return the row of the last two tokens, else that of the last one."""
        end = (*self._end, *path)[-2:]
        for known in range(self._context, 0, -1):
            row = self._after.get(tuple(end[-known:]))
            if row is not None:
                return [Guess(token_id, (self.name, known, rank)) for rank, token_id in enumerate(row)]
        return ()

    def prior(self, evidence: Evidence) -> tuple[float, float]:
        """Return what is expected of a rank after so many known tokens."""
        _, known, rank = evidence
        assert isinstance(known, int)
        assert isinstance(rank, int)
        return _WEIGHT * _EXPECTED[known][min(rank, 3)], _WEIGHT

    def _keep(self, tokens: Sequence[int], row: Sequence[int]) -> None:
        for known in range(1, min(self._context, len(tokens)) + 1):
            self._after[tuple(tokens[-known:])] = row


def source_of(options: TokenRecyclingOptions) -> RecyclingSource:
    """Return the source that options ask for."""
    return RecyclingSource(options.topk, options.rows, options.context, options.prompt_window, options.depth)


def create(options: TokenRecyclingOptions, context: BuildContext) -> SourceDrafter:
    """Return the drafter."""
    return SourceDrafter([source_of(options)], options.nodes)

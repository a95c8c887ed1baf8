"""The drafter ``aded``: no head; a table of trigrams that follows the target, and a search for what to draft.

Source: ADED (Liu et al., arXiv 2407.12021): trigrams approximate what the target says and are updated from
it as it goes; the draft comes from a tree search that weighs what is likely against what was tried little
(PUCT, as in AlphaZero). The number of simulations bounds what it costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from specframe.registry.components import BuildContext
from specframe_plugins.drafters.components.aded import AdedOptions
from specframe_plugins.sources.drafter import SourceDrafter
from specframe_plugins.sources.source import Evidence, Guess, Seen, Source
from specframe_plugins.sources.table import BoundedTable

# Tokens that the table gives such probabilities are told apart.
_EDGES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
# How often they are right, on 42 texts of the demo models.
_EXPECTED = (0.05, 0.12, 0.3, 0.4, 0.5, 0.65, 0.8, 0.87)
_WEIGHT = 4.0
# How much of a row a new observation replaces.
_NEW = 0.5


class _Visited:
    """A node of the search.

    Attributes:
        probability: of its token given its parent, by the table.
        visits: simulations that went through it.
        value: sum of the tokens that they were worth from here on.
        children: by token; None where it was not looked at yet.
    """

    __slots__ = ("children", "probability", "value", "visits")

    def __init__(self, probability: float) -> None:
        self.probability = probability
        self.visits, self.value = 0, 0.0
        self.children: dict[int, _Visited] | None = None


class TrigramSource(Source):
    """Guesses what a tree search finds in a table of trigrams.

    Args:
        topk: of the target's tokens to keep after a pair.
        rows: most pairs to keep.
        simulations: of the search, for each draft.
        exploration: weight of what was tried little.
        depth: tokens in a row at most.
    """

    name = "trigram"
    harvest_log_probs = True

    def __init__(self, topk: int, rows: int, simulations: int, exploration: float, depth: int) -> None:
        self.harvest_topk, self.depth = topk, depth
        self._simulations, self._exploration = simulations, exploration
        self._after: BoundedTable[tuple[int, int], dict[int, float]] = BoundedTable(rows)
        self._end: tuple[int, ...] = ()

    def begin(self, token_ids: Sequence[int]) -> None:
        """Begin with a prompt [T], whose trigrams count as seen."""
        self._end = tuple(token_ids[-2:])
        for first, second, third in zip(token_ids, token_ids[1:], token_ids[2:], strict=False):
            self._update((first, second), {third: 1.0})

    def read(self, token_ids: Sequence[int]) -> None:
        """Note the last tokens."""
        self._end = (*self._end, *token_ids)[-2:]

    def learn(self, seen: Seen) -> None:
        """Update the rows of all nodes by what the target says after each."""
        assert seen.probabilities is not None
        rows = zip(seen.token_ids, seen.parents, seen.top_ids, seen.probabilities, strict=True)
        for token_id, parent, ids, likely in rows:
            before = seen.before if parent < 0 else seen.token_ids[parent]
            self._update((before, token_id), dict(zip(ids, likely, strict=True)))

    def forget(self) -> None:
        """Forget the table."""
        self._after.clear()

    def after(self, path: Sequence[int], state: object) -> Iterable[Guess]:
        """Return what the search visited below the end of the text, or below a node of its own."""
        node = state if isinstance(state, _Visited) else None if path else self._search()
        if node is None or node.children is None:
            return ()
        return [
            Guess(token_id, (self.name, sum(child.probability > edge for edge in _EDGES)), child)
            for token_id, child in node.children.items()
            if child.visits
        ]

    def prior(self, evidence: Evidence) -> tuple[float, float]:
        """Return what is expected of tokens of about one probability."""
        _, bucket = evidence
        assert isinstance(bucket, int)
        return _WEIGHT * _EXPECTED[bucket], _WEIGHT

    def _update(self, pair: tuple[int, int], seen: dict[int, float]) -> None:
        """Move a row towards what was seen, and keep its likeliest tokens."""
        known = self._after.get(pair)
        if known is not None:
            old = {token_id: (1 - _NEW) * likely for token_id, likely in known.items()}
            for token_id, likely in seen.items():
                old[token_id] = old.get(token_id, 0.0) + _NEW * likely
            seen = old
        if len(seen) > self.harvest_topk:
            best = sorted(seen, key=lambda token_id: -seen[token_id])[: self.harvest_topk]
            seen = {token_id: seen[token_id] for token_id in best}
        self._after[pair] = seen

    def _search(self) -> _Visited:
        """Return the root of a search from the end of the text."""
        root = _Visited(1.0)
        for _ in range(self._simulations):
            node, end, line = root, self._end, [root]
            while len(line) <= self.depth:
                if node.children is None:
                    row = self._after.get((end[0], end[1])) if len(end) == 2 else None
                    node.children = {token: _Visited(likely) for token, likely in (row or {}).items()}
                    if node is not root:
                        break
                if not node.children:
                    break
                token_id, node = max(node.children.items(), key=lambda item: self._worth(line[-1], item[1]))
                end = (end[-1], token_id)
                line.append(node)
            worth = 0.0
            for one in reversed(line):
                one.visits += 1
                one.value += worth
                worth = one.probability * (1.0 + worth)
        return root

    def _worth(self, parent: _Visited, child: _Visited) -> float:
        """Return what decides between children: tokens to expect, and more where little was tried (PUCT)."""
        below = child.value / child.visits if child.visits else 0.0
        tried = math.sqrt(parent.visits) / (1 + child.visits)
        return child.probability * (1.0 + below + self._exploration * tried)


def source_of(options: AdedOptions) -> TrigramSource:
    """Return the source that options ask for."""
    return TrigramSource(options.topk, options.rows, options.simulations, options.exploration, options.depth)


def create(options: AdedOptions, context: BuildContext) -> SourceDrafter:
    """Return the drafter."""
    return SourceDrafter([source_of(options)], options.nodes)

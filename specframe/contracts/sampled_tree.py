"""Draft trees whose tokens are drawn from the drafter, so that verifiers may use its probabilities.

Which nodes get children, and how many, is decided before the children are drawn. A tree that was cut down
afterwards to its more likely nodes would be no sample any more, and no verifier could make it exact.
Shapes: b beams, K active tokens, P paths, M nodes drawn at a level, N tree nodes.
"""

from __future__ import annotations

import math
from itertools import islice

import attrs
import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from specframe.contracts.kinds import TreeKind
from specframe.contracts.tree import DraftTree, SampledFrom


@attrs.frozen(slots=True)
class SampledShape:
    """How large a sampled tree is.

    Attributes:
        kind: ``chain``, ``paths`` or ``without-replacement``.
        beams: b, how many nodes of a level get children: all paths, or the best nodes.
        level_sizes: how many nodes are drawn at each level.
    """

    kind: TreeKind
    beams: int
    level_sizes: tuple[int, ...]

    @classmethod
    def of(cls, kind: TreeKind, *, depth: int, branching: int, nodes: int) -> SampledShape:
        """Return the largest shape of a kind within the limits.

        The levels of a tree without replacement are of one size, as far as ``nodes`` divides; below the
        first, there are about as many children per beam as beams.

        Args:
            kind: ``chain``, ``paths`` or ``without-replacement``.
            depth: levels at most.
            branching: paths at most, or children of the root at most.
            nodes: nodes at most, the root included.
        """
        depth = min(depth, nodes - 1)
        if depth == 0:
            return cls(kind, 1, ())
        if kind != "without-replacement":
            paths = 1 if kind == "chain" else max(1, min(branching, (nodes - 1) // depth))
            return cls(kind, paths, (paths,) * depth)
        even, rest = divmod(nodes - 1, depth)
        first, *deeper = [even + (level < rest) for level in range(depth)]
        first = min(first, branching)
        beams = min(first, math.isqrt(max(deeper, default=1)))
        return cls(kind, beams, (first, *deeper))

    @property
    def max_nodes(self) -> int:
        """The largest N, the root included."""
        return 1 + sum(self.level_sizes)


@attrs.frozen(slots=True, eq=False)
class Beams:
    """The nodes of one level that the drafter expands next, always b of them; some may be padding.

    Attributes:
        token_ids: [b] int64.
        rows: each beam's parent as a row of the level before [b] int64.
    """

    token_ids: Tensor
    rows: Tensor


@attrs.frozen(slots=True, eq=False)
class _Level:
    """What was drawn at one level.

    Attributes:
        distributions: the drafter's, after each beam of the level above [b, K] float32.
        columns: drawn columns [M] int64.
        rows: the beam above each [M] int64.
        log_probs: of each given its beam [M] float32; -inf for padding.
        scores: the same, summed up from the root [M].
    """

    distributions: Tensor
    columns: Tensor
    rows: Tensor
    log_probs: Tensor
    scores: Tensor


class SampledTree:
    """Grows level by level by drawing, then becomes a draft tree.

    Sources: SpecInfer (arXiv 2305.09781) and SpecTr (arXiv 2310.15141) for independent paths; recursive
    speculative decoding (arXiv 2402.14160) for drawing without replacement, by Gumbel top-k (arXiv
    1903.06059).

    Args:
        root: token at node 0.
        shape: of the tree.
        temperature: the drafter's logits are divided by it; above 0.
        generator: the only source of randomness, on the drafter's device.
    """

    def __init__(self, root: int, shape: SampledShape, temperature: float, generator: Generator) -> None:
        self._root, self._shape, self._temperature, self._generator = root, shape, temperature, generator
        self._levels: list[_Level] = []
        self._beams: list[Tensor] = []  # of every level but the last: which of its nodes are beams
        self._beam_scores: Tensor | float = 0.0
        self._prefixes: Tensor | None = None  # columns of the paths so far [P, level]

    def add_level(self, logits: Tensor, token_ids: Tensor) -> None:
        """Draw the children of the beams, of the root at the first level.

        Args:
            logits: of the active tokens after each beam [b, K]; one row at the first level.
            token_ids: the active tokens [K] int64; at a later level more may follow behind the same ones.
        """
        self._token_ids = token_ids
        distributions = torch.softmax(logits.float() / self._temperature, dim=-1)
        if self._beams:
            distributions = distributions[: len(self._beams[-1])]
        size = self._shape.level_sizes[len(self._levels)]
        draw = self._distinct if self._shape.kind == "without-replacement" else self._one_per_path
        columns, rows = draw(distributions, size)
        log_probs = distributions[rows, columns].log()
        above = self._beam_scores[rows] if isinstance(self._beam_scores, Tensor) else self._beam_scores
        self._levels.append(_Level(distributions, columns, rows, log_probs, above + log_probs))

    def select_beams(self) -> Beams:
        """Return the nodes of the last level that get children: all paths, or the best nodes."""
        level = self._levels[-1]
        if self._shape.kind == "without-replacement":
            beams = level.scores.topk(min(self._shape.beams, len(level.scores))).indices
        else:
            beams = torch.arange(len(level.columns), device=level.columns.device)
        self._beams.append(beams)
        self._beam_scores = level.scores[beams]
        padded = torch.cat((beams, beams[:1].expand(self._shape.beams - len(beams))))
        return Beams(self._token_ids[level.columns[padded]], level.rows[padded])

    def build(self) -> DraftTree:
        """Return the tree, equal beginnings of paths merged; one host read."""
        levels = self._levels
        if not levels:
            return DraftTree.root_only(self._root, self._generator.device)
        numbers = torch.stack(
            [
                torch.cat([self._token_ids[level.columns] for level in levels]).double(),
                torch.cat([level.rows for level in levels]).double(),
                torch.cat([level.log_probs for level in levels]).double(),
            ]
        )
        beams = torch.cat([beams.double() for beams in self._beams] or [numbers.new_empty(0)])
        flat = torch.cat((numbers.flatten(), beams)).tolist()
        return self._assemble(flat)

    def _assemble(self, flat: list[float]) -> DraftTree:
        """Return the tree from what ``build`` read: tokens, rows and log-probabilities, then the beams."""
        levels, kind = self._levels, self._shape.kind
        total = sum(len(level.columns) for level in levels)
        tokens, parent_rows, log_probs = (flat[part * total : (part + 1) * total] for part in range(3))
        beams = iter(map(int, flat[3 * total :]))
        nodes: list[tuple[int, int, int, float]] = [(self._root, -1, 0, 0.0)]
        rows, known = [-1], dict[tuple[int, int], int]()
        beam_nodes, first, offset = [0], 0, 0
        path_nodes: list[list[int]] = []
        for depth, level in enumerate(levels, start=1):
            drawn: list[int] = []
            for at in range(first, first + len(level.columns)):
                row, token = int(parent_rows[at]), int(tokens[at])
                parent = beam_nodes[row]
                if parent < 0 or log_probs[at] == -math.inf:
                    drawn.append(-1)
                    continue
                rows[parent] = offset + row
                node = known.get((parent, token))
                if node is None:
                    node = known[parent, token] = len(nodes)
                    nodes.append((token, parent, depth, min(log_probs[at], 0.0)))
                    rows.append(-1)
                drawn.append(node)
            if depth < len(levels):
                beam_nodes = [drawn[beam] for beam in islice(beams, len(self._beams[depth - 1]))]
            path_nodes.append(drawn)
            first += len(level.columns)
            offset += len(level.distributions)
        device, width = self._token_ids.device, len(self._token_ids)
        token_ids, parents, depths, node_log_probs = zip(*nodes, strict=True)
        return DraftTree(
            token_ids=torch.tensor(token_ids, device=device),
            parents=torch.tensor(parents, device=device),
            depths=torch.tensor(depths, device=device),
            log_probs=torch.tensor(node_log_probs, dtype=torch.float32, device=device),
            sampled_from=SampledFrom(
                kind,
                self._token_ids,
                # What came to be active at a later level was not drawn at those before.
                torch.cat([_widened(one.distributions, width) for one in levels]),
                tuple(rows),
                () if kind == "without-replacement" else tuple(zip(*path_nodes, strict=True)),
            ),
        )

    def _one_per_path(self, distributions: Tensor, paths: int) -> tuple[Tensor, Tensor]:
        """Return a drawn column and its row for each path [P].

        Paths with one beginning draw from one row, that of the first of them: a backbone that computes a row
        twice may round it differently.
        """
        if self._prefixes is None:
            rows = torch.zeros(paths, dtype=torch.int64, device=distributions.device)
        else:
            equal = (self._prefixes[:, None] == self._prefixes[None]).all(dim=2)
            numbers = torch.arange(paths, device=distributions.device)
            rows = torch.where(equal, numbers, paths).amin(dim=1)
        columns = torch.multinomial(distributions[rows], 1, generator=self._generator)
        self._prefixes = columns if self._prefixes is None else torch.cat((self._prefixes, columns), dim=1)
        return columns.squeeze(1), rows

    def _distinct(self, distributions: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Return drawn columns and their rows, at most ``size`` of them, evenly from the beams.

        The largest of q / e, e standard exponential, are draws without replacement in their order.
        """
        beams, active = distributions.shape
        children = min(active, -(-size // beams))
        noise = torch.empty_like(distributions).exponential_(generator=self._generator)
        columns = (distributions / noise).topk(children, dim=1).indices.flatten()[:size]
        rows = torch.arange(beams, device=columns.device).repeat_interleave(children)[:size]
        return columns, rows


def _widened(distributions: Tensor, width: int) -> Tensor:
    """Return distributions [b, width] over more tokens: those that came to be active later were not drawn."""
    return pad(distributions, (0, width - distributions.shape[1]))

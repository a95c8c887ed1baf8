"""How the paths of target passes end: accepted to a leaf, an OOV rejection, or a drafter miss."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from specframe.bench.rows import BenchRow


@attrs.frozen(slots=True)
class PathEnds:
    """Counts of target passes.

    Attributes:
        passes: all of them.
        oov: ended because the target's token was not in the active set.
        misses: ended although it was.
        oov_by_depth: of the OOV rejections, those at depth 1, 2, ...; paths that the end of the
            generation cut before are left out.
        misses_by_depth: of the drafter misses, likewise.
        accepted_by_depth: target passes that accepted a drafted token at depth 1, 2, ...
    """

    passes: int
    oov: int
    misses: int
    oov_by_depth: tuple[int, ...]
    misses_by_depth: tuple[int, ...]
    accepted_by_depth: tuple[int, ...]

    def share(self, count: int) -> float:
        """Return a count as a share of the target passes."""
        return count / self.passes if self.passes else 0.0


def path_ends(rows: Sequence[BenchRow]) -> PathEnds:
    """Return the counts over the rows whose steps are known.

    A path that ended after ``a`` accepted tokens was rejected at depth ``a + 1``.
    """
    ends = [
        (accepted, rejection, accepted + 1 if emitted > accepted else None)
        for row in rows
        if row.steps is not None
        for accepted, rejection, emitted in zip(
            row.steps.accepted, row.steps.rejection, row.steps.emitted, strict=True
        )
    ]
    deepest = max((len(row.report.accept_by_depth or ()) for row in rows), default=0)
    levels = range(1, deepest + 1)

    def by_depth(kind: str) -> tuple[int, ...]:
        return tuple(sum(why == kind and at == depth for _, why, at in ends) for depth in levels)

    return PathEnds(
        passes=len(ends),
        oov=sum(why == "oov" for _, why, _ in ends),
        misses=sum(why == "drafter_miss" for _, why, _ in ends),
        oov_by_depth=by_depth("oov"),
        misses_by_depth=by_depth("drafter_miss"),
        accepted_by_depth=tuple(sum(accepted >= depth for accepted, _, _ in ends) for depth in levels),
    )

"""Losslessness with ties: is every emitted token the target's own choice, or as good as tied with it?"""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.bench.rows import BenchRow, Losslessness
from specframe.model.rescoring import margins
from specframe.model.target import Target


class LosslessCheck:
    """Judges all generations of one prompt; equal texts are scored again only once.

    Args:
        target: the model that emitted the tokens, in the same dtype.
        prompt_ids: [T] int64.
        baseline: ids that autoregressive decoding emits; None if that was not run.
        tolerance: the largest margin that passes for a tie.
    """

    def __init__(
        self, target: Target, prompt_ids: Tensor, baseline: list[int] | None, tolerance: float
    ) -> None:
        self._target = target
        self._prompt_ids = prompt_ids
        self._baseline = baseline
        self._tolerance = tolerance
        self._known: dict[tuple[int, ...], Tensor] = {}

    def judge(self, row: BenchRow, *, is_baseline: bool = False) -> Losslessness:
        """Return what can be said about a generation."""
        token_ids = row.report.token_ids
        behind = self._margins(token_ids)
        baseline = None if is_baseline else self._baseline
        divergence = None if baseline is None else first_difference(token_ids, baseline)
        margin = baseline_margin = None
        ends_elsewhere = False
        if divergence is not None and baseline is not None:
            ends_elsewhere = divergence >= min(len(token_ids), len(baseline))
            if not ends_elsewhere:
                margin = float(behind[divergence])
                baseline_margin = float(self._margins(baseline[: divergence + 1])[-1])
        largest = float(behind.max())
        return Losslessness(
            equal=None if baseline is None else divergence is None,
            divergence=divergence,
            margin=margin,
            baseline_margin=baseline_margin,
            largest_margin=largest,
            not_maximum=int((behind > 0).sum()),
            tolerance=self._tolerance,
            passed=largest <= self._tolerance and not ends_elsewhere,
        )

    def _margins(self, token_ids: list[int]) -> Tensor:
        key = tuple(token_ids)
        if key not in self._known:
            self._known[key] = margins(self._target, self._prompt_ids, torch.tensor(token_ids))
        return self._known[key]


def first_difference(one: list[int], other: list[int]) -> int | None:
    """Return the first index at which two lists differ, which may be the shorter one's end; None if equal."""
    if one == other:
        return None
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))

"""Which parts of the layers to leave out: Bayesian optimisation of how well the rest predicts the text.

SWIFT (arXiv 2410.06916) searches at random and by Bayesian optimisation with a Gaussian process. Here what a
set of parts costs is taken to be a sum over its parts, so that the process is a linear regression: every
trial says something about each of the parts, and what is tried next is drawn from what is believed (Thompson
sampling).
"""

from __future__ import annotations

import torch
from torch import Tensor

# How far one trial is off, in the share of the text that was predicted; and how far apart parts are expected
# to be, in units of what each would lose if together they lost everything.
_NOISE, _SPREAD = 0.1, 1.0
_SEED = 20410


class LayerSearch:
    """Chooses ``count`` of n parts.

    Args:
        expected: what leaving each out is expected to lose, before anything was tried [n]; only differences
            count.
        count: how many to choose, 1 to n.
    """

    def __init__(self, expected: Tensor, count: int) -> None:
        self._expected, self._count = expected.double(), count
        self.reset()

    def reset(self) -> None:
        """Forget every trial."""
        parts = len(self._expected)
        spread = _SPREAD / self._count
        # The last row is what a trial would say with nothing left out.
        self._precision = torch.eye(parts + 1, dtype=torch.float64) / spread**2
        self._precision[-1, -1] = 1.0
        start = torch.cat((-self._expected * spread, torch.ones(1, dtype=torch.float64)))
        self._weighted = self._precision @ start
        self._generator = torch.Generator().manual_seed(_SEED)
        self.trials = 0

    def best(self) -> tuple[int, ...]:
        """Return the parts that are believed to lose the least, rising."""
        return self._chosen(self._believed()[0])

    def candidate(self) -> tuple[int, ...]:
        """Return the parts to try next, rising: the best ones, if one belief that is possible were true."""
        mean, factor = self._believed()
        drawn = torch.randn(len(mean), 1, dtype=torch.float64, generator=self._generator)
        # With P = L L^T the covariance is L^-T L^-1.
        return self._chosen(mean + torch.linalg.solve_triangular(factor.T, drawn, upper=True)[:, 0])

    def learn(self, parts: tuple[int, ...], value: float) -> None:
        """Take what a trial said.

        Args:
            parts: what was left out.
            value: how well the rest predicted the text, 0 to 1.
        """
        row = torch.zeros(len(self._weighted), dtype=torch.float64)
        row[[*parts, -1]] = 1.0
        self._precision += torch.outer(row, row) / _NOISE**2
        self._weighted += row * value / _NOISE**2
        self.trials += 1

    def _believed(self) -> tuple[Tensor, Tensor]:
        """Return the mean [n + 1], and the Cholesky factor of the precision."""
        factor = torch.linalg.cholesky(self._precision)
        return torch.cholesky_solve(self._weighted[:, None], factor)[:, 0], factor

    def _chosen(self, worth: Tensor) -> tuple[int, ...]:
        best = worth[:-1].argsort(descending=True, stable=True)[: self._count]
        return tuple(sorted(best.tolist()))

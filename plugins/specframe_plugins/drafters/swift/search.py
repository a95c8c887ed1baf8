"""Which parts of the layers to leave out: Bayesian optimisation of how well the rest predicts the text.

SWIFT (arXiv 2410.06916) searches at random and by Bayesian optimisation with a Gaussian process. Here what a
set of parts loses is taken to be a sum over its parts, so that the process is a linear regression: every
trial says something about each of the parts, and what is tried next is drawn from what is believed (Thompson
sampling).
"""

from __future__ import annotations

import torch
from torch import Tensor

# How far what a trial says of one token is off; the more tokens, the closer is their mean.
_NOISE = 0.3
# How far a part's loss is from what is expected, where 1 is all that there is to lose, spread over the parts.
_SPREAD = 1.0
_SEED = 20410


class LayerSearch:
    """Chooses parts that together have a share of all sizes, and lose the least.

    Args:
        sizes: what each part costs to run [n].
        share: of the sum of sizes that is left out, above 0.
        expected: what leaving each out is expected to lose, before anything was tried, as a multiple of an
            even share [n].
    """

    def __init__(self, sizes: Tensor, share: float, expected: Tensor) -> None:
        self._sizes, self._share = sizes.double(), share
        self._spread = _SPREAD / (share * len(sizes))
        self._expected = expected.double() * self._spread
        self.reset()

    def reset(self) -> None:
        """Forget every trial."""
        parts = len(self._sizes)
        # The last row is what a trial would say with nothing left out.
        self._precision = torch.eye(parts + 1, dtype=torch.float64) / self._spread**2
        self._precision[-1, -1] = 1.0
        start = torch.cat((-self._expected, torch.ones(1, dtype=torch.float64)))
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

    def learn(self, parts: tuple[int, ...], value: float, tokens: int) -> None:
        """Take what a trial said.

        Args:
            parts: what was left out.
            value: how well the rest predicted the text, 0 to 1.
            tokens: how many there were to predict.
        """
        row = torch.zeros(len(self._weighted), dtype=torch.float64)
        row[[*parts, -1]] = 1.0
        weight = tokens / _NOISE**2
        self._precision += torch.outer(row, row) * weight
        self._weighted += row * value * weight
        self.trials += 1

    def _believed(self) -> tuple[Tensor, Tensor]:
        """Return what each part adds, and the whole [n + 1]; and the Cholesky factor of the precision."""
        factor = torch.linalg.cholesky(self._precision)
        return torch.cholesky_solve(self._weighted[:, None], factor)[:, 0], factor

    def _chosen(self, worth: Tensor) -> tuple[int, ...]:
        """Return the parts that lose the least for their size, until they have the share."""
        order = (worth[:-1] / self._sizes).argsort(descending=True, stable=True)
        before = self._sizes[order].cumsum(0) - self._sizes[order]
        chosen = order[before + self._sizes[order] / 2 <= self._share * self._sizes.sum()]
        return tuple(sorted(chosen.tolist()))

"""Exact verifiers with a real generator: seeded draws fit the target, and mistakes show.

Complements ``test_exact_verifiers``, where nothing is left to chance. Of 3,000 draws over 16 outcomes, a
distribution that is off by 0.1 in total variation gives a p-value below 1e-6 with a probability above
0.99: the statistic is then about 15 + 4 * 3000 * 0.1**2 = 135 with a standard deviation of 23, and the limit
is 57.
"""

from __future__ import annotations

import pytest
from exact_cases import EXACT
from wrong_verifiers import (
    AcceptsByTheDrafter,
    ForgetsTheResidual,
    SharpensTheTarget,
    TargetOffByOneNode,
)

from specframe.contracts.kinds import TreeKind
from specframe.contracts.protocols import Verifier
from specframe.testing.exact_sampling import check_exact_sampling, fit_to, sample

DRAWS = 3000


@pytest.mark.parametrize(("verifier", "kind"), [(verifier, kind) for verifier, kind, _ in EXACT])
def test_seeded_draws_fit_the_target(verifier: type[Verifier], kind: TreeKind) -> None:
    fit = fit_to(*sample(verifier(), kind, DRAWS, seed=5))
    assert fit.p_value > 1e-4
    assert fit.total_variation < 0.05


@pytest.mark.parametrize(
    "mutant", [AcceptsByTheDrafter, ForgetsTheResidual, SharpensTheTarget, TargetOffByOneNode]
)
def test_a_verifier_with_a_mistake_is_caught(mutant: type[Verifier]) -> None:
    with pytest.raises(AssertionError, match="do not follow the target"):
        check_exact_sampling(mutant(), ["paths"])

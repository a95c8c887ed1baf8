"""Sampling parameters that cannot be are one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from specframe.contracts.sampling import SamplingParams
from specframe.errors import UsageError


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"seed": 2**70}, r"seed is 1180591620717411303424; allowed: -2\*\*63 to 2\*\*64 - 1"),
        ({"seed": 1.5}, "seed is 1.5; allowed: a whole number"),
        ({"seed": None}, "seed is None; allowed: a whole number"),
        ({"temperature": "hot"}, "temperature is 'hot'; allowed: a number"),
        ({"temperature": True}, "temperature is True; allowed: a number"),
        ({"temperature": float("nan")}, "temperature is nan; allowed: 0 for greedy"),
        ({"temperature": 1.0, "top_k": 2.5}, "top_k is 2.5; allowed: a whole number"),
        ({"temperature": 1.0, "top_p": None}, "top_p is None; allowed: a number"),
        ({"temperature": 1.0, "min_p": [0.1]}, r"min_p is \[0.1\]; allowed: a number"),
        ({"temperature": 10**400}, "temperature is too large; allowed: a number that is a float"),
        ({"repetition_penalty": "1"}, "repetition_penalty is '1'; allowed: a number"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused(parameters: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        SamplingParams(**parameters)


@pytest.mark.parametrize("seed", [-(2**63), 0, 2**64 - 1])
def test_any_seed_of_torch_is_allowed(seed: int) -> None:
    assert SamplingParams(seed=seed).seed == seed


def test_numbers_of_numpy_and_torch_become_plain_ones() -> None:
    given = SamplingParams(temperature=np.float32(0.5), top_k=torch.tensor(3), seed=np.int64(4))  # type: ignore[typeddict-item]
    assert given.values() == SamplingParams(temperature=0.5, top_k=3, seed=4).values()
    assert {type(value) for value in given.values().values()} == {float, int}

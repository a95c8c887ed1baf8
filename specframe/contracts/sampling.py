"""How the target's distribution is shaped and drawn from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

import attrs

from specframe.contracts.numbers import real, whole
from specframe.contracts.options import option
from specframe.errors import UsageError, unknown_name

# What torch seeds a generator with: from the first on, up to the second.
_SEEDS = (-(2**63), 2**64)
# Below this, logits divided by the temperature leave the range of float32.
_LOWEST_TEMPERATURE = 1e-3


class SamplingSettings(TypedDict, total=False):
    """What ``SamplingParams`` takes."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    seed: int


@attrs.frozen(slots=True, kw_only=True, init=False)
class SamplingParams:
    """How tokens are sampled from the target's logits; by default they are not, and decoding is greedy.

    What is left out is up to the model's generation config, or else has the default that is seen here.

    Attributes:
        given: names of the parameters that were not left out.

    Raises:
        UsageError: a parameter is no number, out of range, or has no effect at a temperature of 0 that was
            given too.
    """

    temperature: float = option(
        0.0, help="Divides the target's logits; 0 decodes greedily, above 0 samples.", metavar="T"
    )
    top_p: float = option(
        1.0, help="Sample from the most likely tokens that together have this probability.", metavar="P"
    )
    top_k: int = option(0, help="Sample from this many most likely tokens, 0 for all.", metavar="K")
    min_p: float = option(
        0.0,
        help="Sample from the tokens with at least this share of the most likely token's probability.",
        metavar="P",
    )
    repetition_penalty: float = option(
        1.0,
        help="Above 1, tokens of the prompt and of the output become less likely; also in greedy decoding.",
        metavar="R",
    )
    seed: int = option(0, help="Seed of everything that is drawn.", metavar="N")
    given: frozenset[str] = attrs.field(init=False, repr=False)

    def __init__(self, **parameters: Unpack[SamplingSettings]) -> None:
        unknown = [name for name in parameters if name not in SamplingSettings.__annotations__]
        if unknown:
            raise unknown_name("sampling parameter", unknown[0], SamplingSettings.__annotations__)
        object.__setattr__(self, "given", frozenset(parameters))
        self.__attrs_init__(**parameters)

    def __attrs_post_init__(self) -> None:
        for name in ("temperature", "top_p", "min_p", "repetition_penalty"):
            object.__setattr__(self, name, real(name, getattr(self, name)))
        for name in ("top_k", "seed"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))
        if not _SEEDS[0] <= self.seed < _SEEDS[1]:
            raise UsageError(f"seed is {self.seed}; allowed: -2**63 to 2**64 - 1")
        temperature, penalty = self.temperature, self.repetition_penalty
        if not (temperature == 0.0 or _LOWEST_TEMPERATURE <= temperature < math.inf):
            raise UsageError(
                f"temperature is {temperature:g}; allowed: 0 for greedy decoding, or {_LOWEST_TEMPERATURE:g} "
                "and more"
            )
        if not 0.0 < penalty < math.inf:
            raise UsageError(f"repetition_penalty is {penalty:g}; allowed: more than 0, 1 for none")
        if not 0.0 < self.top_p <= 1.0:
            raise UsageError(f"top_p is {self.top_p:g}; allowed: more than 0 and at most 1")
        if self.top_k < 0:
            raise UsageError(f"top_k is {self.top_k}; allowed: 1 or more, or 0 for all tokens")
        if not 0.0 <= self.min_p <= 1.0:
            raise UsageError(f"min_p is {self.min_p:g}; allowed: 0 to 1")
        if temperature == 0.0 and "temperature" in self.given:
            self._check_effect()

    def over(self, defaults: Mapping[str, Any]) -> SamplingParams:
        """Return the same parameters, those that were left out with other values; they stay left out.

        Args:
            defaults: these values, by name.

        Raises:
            UsageError: the temperature is 0, and a parameter has no effect at that; or a value cannot be.
        """
        asked = {name: value for name, value in self.values().items() if name in self.given}
        settled = SamplingParams(**{**SamplingParams().values(), **defaults, **asked})
        object.__setattr__(settled, "given", self.given)
        return settled

    def changed(self, **parameters: Unpack[SamplingSettings]) -> SamplingParams:
        """Return the parameters with others given besides; raises as the class does."""
        kept = {name: value for name, value in self.values().items() if name in self.given}
        return SamplingParams(**{**kept, **parameters})

    def values(self) -> dict[str, Any]:
        """Return all parameters by name."""
        return {name: getattr(self, name) for name in SamplingSettings.__annotations__}

    def _check_effect(self) -> None:
        for name in ("top_p", "top_k", "min_p"):
            value = getattr(self, name)
            if value != NEUTRAL[name]:
                raise UsageError(
                    f"{name} is {value:g}, but at temperature 0 the most likely token is taken whatever "
                    f"{name} is; give a temperature above 0, or leave {name} out"
                )


# The parameters that shape the distribution, with the values that leave it as it is: all but the seed.
NEUTRAL = {name: value for name, value in SamplingParams().values().items() if name != "seed"}

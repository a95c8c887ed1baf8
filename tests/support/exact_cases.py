"""The exact verifiers that sample, each with a kind of draft tree it verifies and how wide that is."""

from __future__ import annotations

from specframe.contracts.kinds import TreeKind
from specframe.contracts.protocols import Verifier
from specframe_plugins.verifiers.block import BlockVerifier
from specframe_plugins.verifiers.gbv import GbvVerifier
from specframe_plugins.verifiers.multi_round import MultiRoundVerifier
from specframe_plugins.verifiers.sampling import SamplingVerifier
from specframe_plugins.verifiers.spectr import SpectrVerifier
from specframe_plugins.verifiers.spectr_gbv import SpectrGbvVerifier

EXACT: list[tuple[type[Verifier], TreeKind, int]] = [
    (SamplingVerifier, "top-k", 2),
    (SamplingVerifier, "paths", 2),
    (MultiRoundVerifier, "chain", 1),
    (MultiRoundVerifier, "paths", 2),
    (MultiRoundVerifier, "without-replacement", 2),
    (BlockVerifier, "chain", 1),
    (SpectrVerifier, "paths", 2),
    (SpectrGbvVerifier, "paths", 2),
    (GbvVerifier, "paths", 2),
]

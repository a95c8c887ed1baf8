"""Conformance checks that a plugin author runs: each drives a component through its protocol.

The checks feed awkward but legal inputs and raise ``BrokenPromise``, an ``AssertionError``, with a sentence
that says which promise of ``specframe.contracts.protocols`` was broken and how. They need no model and no
test framework. ``check_lossless`` runs a component in a whole engine, by default on ``tiny_target()``, which
``build_component`` builds components for.
"""

from specframe.testing.budget import ScriptedBudget
from specframe.testing.drafter import check_drafter
from specframe.testing.exact_sampling import check_exact_sampling
from specframe.testing.gather import check_gather_backend
from specframe.testing.lossless import check_lossless
from specframe.testing.promises import BrokenPromise
from specframe.testing.reference import ReferenceGather
from specframe.testing.screen import check_screen
from specframe.testing.tiny import build_component, tiny_target, tiny_tokenizer
from specframe.testing.verifier import check_verifier
from specframe.testing.vocabulary import check_vocabulary_builder

__all__ = [
    "BrokenPromise",
    "ReferenceGather",
    "ScriptedBudget",
    "build_component",
    "check_drafter",
    "check_exact_sampling",
    "check_gather_backend",
    "check_lossless",
    "check_screen",
    "check_verifier",
    "check_vocabulary_builder",
    "tiny_target",
    "tiny_tokenizer",
]

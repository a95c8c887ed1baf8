"""The kinds that are named: of components, of draft trees, of how the target runs and is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

Kind = Literal["vocabulary", "gather", "drafter", "verifier"]


@attrs.frozen(slots=True)
class KindInfo:
    """One kind of components: the names that it goes by.

    Attributes:
        name: what ``-o`` and TOML put before the options of one.
        setting: the setting of a run that chooses one.
        label: what errors call one.
        hook: the hook that plugins return them from.
        protocol: what factories return, in ``specframe.contracts.protocols``.
        check: the conformance check for plugin authors, in ``specframe.testing``.
    """

    name: Kind
    setting: str
    label: str
    hook: str
    protocol: str
    check: str


KINDS: Mapping[Kind, KindInfo] = {
    kind.name: kind
    for kind in (
        KindInfo(
            "vocabulary",
            setting="strategy",
            label="strategy",
            hook="specframe_vocabularies",
            protocol="VocabularyBuilder",
            check="check_vocabulary_builder",
        ),
        KindInfo(
            "gather",
            setting="gather",
            label="gather backend",
            hook="specframe_gather_backends",
            protocol="GatherBackend",
            check="check_gather_backend",
        ),
        KindInfo(
            "drafter",
            setting="drafter",
            label="drafter",
            hook="specframe_drafters",
            protocol="Drafter",
            check="check_drafter",
        ),
        KindInfo(
            "verifier",
            setting="verifier",
            label="verifier",
            hook="specframe_verifiers",
            protocol="Verifier",
            check="check_verifier",
        ),
    )
}

ForwardName = Literal["auto", "lean", "openvino", "transformers"]
TargetHeadName = Literal["auto", "full", "exact-screen"]
# Whether what a model's generation config says counts.
GenerationConfigUse = Literal["model", "none"]
# What a drafter that learns from the target may learn from besides the request at hand.
Warmth = Literal["off", "conversation", "shared"]
# What leaves a full active set: the oldest, or the least recently seen.
Eviction = Literal["fifo", "lru"]

# How a draft tree came about decides what verifiers may conclude from the drafter's probabilities.
TreeKind = Literal["top-k", "chain", "paths", "without-replacement"]

TREE_KINDS: dict[TreeKind, str] = {
    "top-k": "the drafter's most likely tokens; nothing is drawn",
    "chain": "one path, each token drawn from the drafter",
    "paths": "several independent paths, each token drawn from the drafter; equal beginnings are merged",
    "without-replacement": "several children per node, drawn from the drafter in turn, none twice",
}

"""The kinds that are named: of components, of draft trees, and of forwards of the target."""

from __future__ import annotations

from typing import Literal, get_args

Kind = Literal["vocabulary", "gather", "drafter", "verifier"]
KINDS: tuple[Kind, ...] = get_args(Kind)

ForwardName = Literal["auto", "lean", "transformers"]

# How a draft tree came about decides what verifiers may conclude from the drafter's probabilities.
TreeKind = Literal["top-k", "chain", "paths", "without-replacement"]

TREE_KINDS: dict[TreeKind, str] = {
    "top-k": "the drafter's most likely tokens; nothing is drawn",
    "chain": "one path, each token drawn from the drafter",
    "paths": "several independent paths, each token drawn from the drafter; equal beginnings are merged",
    "without-replacement": "several children per node, drawn from the drafter in turn, none twice",
}

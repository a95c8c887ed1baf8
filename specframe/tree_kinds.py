"""How a draft tree came about, which decides what verifiers may conclude from the drafter's probabilities."""

from __future__ import annotations

from typing import Literal

TreeKind = Literal["top-k", "chain", "paths", "without-replacement"]

TREE_KINDS: dict[TreeKind, str] = {
    "top-k": "the drafter's most likely tokens; nothing is drawn",
    "chain": "one path, each token drawn from the drafter",
    "paths": "several independent paths, each token drawn from the drafter; equal beginnings are merged",
    "without-replacement": "several children per node, drawn from the drafter in turn, none twice",
}

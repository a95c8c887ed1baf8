"""Sizes of trees that sources grow."""

from __future__ import annotations

# Most nodes of a tree, the root aside. Measured costs cut it to what pays.
NODES = 32

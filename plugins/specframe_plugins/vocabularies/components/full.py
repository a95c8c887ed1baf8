"""Declares the strategy ``full``."""

from __future__ import annotations

from specframe.registry.components import Component

COMPONENT = Component(
    name="full",
    summary="no pruning: draft over the whole vocabulary",
    factory="specframe_plugins.vocabularies.full:build",
)

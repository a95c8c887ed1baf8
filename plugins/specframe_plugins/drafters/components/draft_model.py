"""Declares the drafter ``draft-model``."""

from __future__ import annotations

from typing import Literal

import attrs

from specframe.contracts.kinds import TreeKind
from specframe.contracts.options import option
from specframe.registry.components import Component
from specframe_plugins.drafters.components.graft import GraftOptions, learns, sweep
from specframe_plugins.trees.shape import TREES, TreeOptions

TokensKind = Literal["auto", "same", "intersection", "strings"]


@attrs.frozen(slots=True, kw_only=True)
class DraftModelOptions(TreeOptions, GraftOptions):
    """Options of the drafter ``draft-model``."""

    model: str | None = option(
        None,
        help="demo model, hub id, directory or .gguf file; "
        "none: the target itself, of which `layers` says how much",
    )
    tokens: TokensKind = option(
        "auto",
        help="of a model with another tokenizer: refuse it (same), draft the tokens that both have, or text "
        "that the target's tokenizer takes apart (strings: a chain, nothing is drawn); auto: same, else "
        "intersection",
    )
    layers: int | None = option(
        None, help="draft with the first layers alone; none: with all", unit="layers", minimum=1
    )

    def __attrs_post_init__(self) -> None:
        GraftOptions.__attrs_post_init__(self)
        if self.model is None and self.layers is None:
            raise ValueError(
                "no model was named; allowed: model=MODEL, or layers=N for the first N layers of the target"
            )
        if self.model is None and self.tokens not in ("auto", "same"):
            raise ValueError(
                f"tokens={self.tokens} is for a model of another tokenizer, and none was named; allowed: "
                "model=MODEL, or tokens=same"
            )
        if self.tokens == "strings" and self.tree not in ("auto", "top-k"):
            raise ValueError(
                f"tokens=strings draws nothing, and tree is {self.tree}; allowed: auto, top-k, or "
                "tokens=intersection"
            )
        if self.tokens == "strings" and (self.branching or 1) > 1:
            raise ValueError(
                f"tokens=strings drafts a chain, and branching is {self.branching}; allowed: 1, or "
                "tokens=intersection"
            )

    def drafts(self) -> tuple[TreeKind, ...]:
        """Return the kinds of draft trees that may be drafted."""
        return ("top-k",) if self.tokens == "strings" else super().drafts()


COMPONENT = Component(
    name="draft-model",
    summary="a small language model, or the target's own first layers; dynamic draft tree",
    options=DraftModelOptions,
    factory="specframe_plugins.drafters.draft_model.drafter:create",
    diagnose="specframe_plugins.drafters.draft_model.diagnosis:diagnose",
    trees=TREES,
    drafts=DraftModelOptions.drafts,
    sweep=sweep,
    learns=learns,
)

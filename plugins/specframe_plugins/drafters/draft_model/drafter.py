"""The drafter ``draft-model``: drafts a dynamic tree with a small language model (arXiv 2211.17192).

It reads tokens alone, and none of the target's features. A model with another tokenizer drafts the tokens
that both tokenizers have, or text (Timor et al., arXiv 2502.05202).
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.kinds import TreeKind
from specframe.contracts.options import option
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.tree import DraftTree, Verdict
from specframe.model.language_model import LanguageModel
from specframe.registry.components import BuildContext, Component
from specframe_plugins.drafters.draft_model.backbone import ModelBackbone
from specframe_plugins.drafters.draft_model.diagnosis import SUBJECT, WHY, diagnose, predictor
from specframe_plugins.drafters.draft_model.loading import TokensKind, load
from specframe_plugins.drafters.draft_model.reader import Reader
from specframe_plugins.drafters.draft_model.strings import StringDrafter
from specframe_plugins.drafters.draft_model.translated import SharedBackbone
from specframe_plugins.drafters.draft_model.translation import Translation
from specframe_plugins.drafters.graft import GraftOptions, grafted, learns, sweep
from specframe_plugins.drafters.probe import warn_unless_it_predicts
from specframe_plugins.trees.shape import TREES, TreeOptions, TreeSampling, TreeShape
from specframe_plugins.trees.tree_drafter import TreeDrafter


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


class DraftModelDrafter(TreeDrafter):
    """Drafts with a language model; beyond its positions it drafts nothing.

    Args:
        model: the language model; its LM head counts in the target's token ids.
        shape: of the draft trees.
        sampling: draws the trees; None takes the most likely tokens.
        translation: of the target's tokens, for a model with another tokenizer.
    """

    def __init__(
        self,
        model: LanguageModel,
        shape: TreeShape,
        sampling: TreeSampling | None = None,
        translation: Translation | None = None,
    ) -> None:
        beams, levels = shape.branching if sampling is None else sampling.shape.beams, shape.drafted_levels
        if translation is None:
            self._backbone = ModelBackbone(model, beams=beams, levels=levels)
        else:
            self._backbone = SharedBackbone(model, translation, beams=beams, levels=levels)
        super().__init__(self._backbone, model.output_head, shape, sampling, model.device)
        self._reader = Reader(self._backbone, model.max_positions - levels, drafts=self.max_depth > 0)

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        """Begin a request: read its prompt [T]; the features are not looked at."""
        self.resume(prompt_ids, features, 0)

    @property
    def remembered(self) -> int:
        """How many tokens of prompt and output were read and have one after them."""
        return self._reader.remembered

    @torch.inference_mode()
    def resume(self, prompt_ids: Tensor, features: Tensor, kept: int) -> None:
        """Begin a request whose first ``kept`` tokens were read; the others are read chunk by chunk."""
        self._reader.begin(prompt_ids, kept)

    @torch.inference_mode()
    def skip(self, token_ids: Tensor, features: Tensor) -> None:
        """Read tokens [n] that were emitted without a draft."""
        self._reader.skip(token_ids)

    @torch.inference_mode()
    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        """Draft from ``root``: read the accepted tokens and the root, then grow the tree."""
        if not self._reader.emit(root):
            return DraftTree.root_only(root, self._backbone.device)
        return self._grow(root, head, clock)

    def commit(self, verdict: Verdict) -> None:
        """Take over the accepted tokens, which are read at the next draft."""
        self._reader.accept(verdict)


def create(options: DraftModelOptions, context: BuildContext) -> Drafter:
    """Return the drafter for a target.

    Raises:
        CheckpointError: the model cannot be loaded, or its tokenizer does not go with the target's.
        UsageError: the model has fewer layers than asked for.
    """
    target = context.target
    loaded = load(options.model, options.layers, target, options.tokens)
    warn_unless_it_predicts(SUBJECT, predictor(loaded), target, why=WHY)
    shape = options.shape(target.device, context.tree, budgeted=context.budgeted)
    drafter: Drafter
    if options.tokens == "strings":
        assert loaded.translation is not None
        drafter = StringDrafter(loaded.model, loaded.translation, target.output_head, shape.levels)
    else:
        drafter = DraftModelDrafter(loaded.model, shape, options.sampling(context), loaded.translation)
    return grafted(drafter, options, context)


COMPONENT = Component(
    name="draft-model",
    summary="a small language model, or the target's own first layers; dynamic draft tree",
    options=DraftModelOptions,
    factory=create,
    diagnose=diagnose,
    trees=TREES,
    drafts=DraftModelOptions.drafts,
    sweep=sweep,
    learns=learns,
)

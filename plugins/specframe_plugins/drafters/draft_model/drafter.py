"""The drafter ``draft-model``: drafts a dynamic tree with a small language model (arXiv 2211.17192).

It reads tokens alone, so it works for any target with its tokenizer; of the target's features it takes none.
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.options import option
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.tree import DraftTree, Verdict
from specframe.model.language_model import LanguageModel
from specframe.registry.components import BuildContext, Component
from specframe_plugins.drafters.draft_model.backbone import ModelBackbone
from specframe_plugins.drafters.draft_model.diagnosis import SUBJECT, WHY, diagnose, predictor
from specframe_plugins.drafters.draft_model.loading import load
from specframe_plugins.drafters.graft import GraftOptions, grafted, learns, sweep
from specframe_plugins.drafters.probe import warn_unless_it_predicts
from specframe_plugins.trees.shape import TREES, TreeOptions, TreeSampling, TreeShape
from specframe_plugins.trees.tree_drafter import TreeDrafter


@attrs.frozen(slots=True, kw_only=True)
class DraftModelOptions(TreeOptions, GraftOptions):
    """Options of the drafter ``draft-model``."""

    model: str | None = option(
        None,
        help="demo model, hub id, directory or .gguf file with the target's tokenizer; "
        "none: the target itself, of which `layers` says how much",
    )
    layers: int | None = option(
        None, help="draft with the first layers alone; none: with all", unit="layers", minimum=1
    )

    def __attrs_post_init__(self) -> None:
        if self.model is None and self.layers is None:
            raise ValueError(
                "no model was named; allowed: model=MODEL, or layers=N for the first N layers of the target"
            )


class DraftModelDrafter(TreeDrafter):
    """Drafts with a language model; beyond its positions it drafts nothing.

    Args:
        model: the language model; its LM head counts in the target's token ids.
        shape: of the draft trees.
        sampling: draws the trees; None takes the most likely tokens.
    """

    def __init__(self, model: LanguageModel, shape: TreeShape, sampling: TreeSampling | None = None) -> None:
        beams = shape.branching if sampling is None else sampling.shape.beams
        self._backbone = ModelBackbone(model, beams=beams, levels=shape.drafted_levels)
        super().__init__(self._backbone, model.output_head, shape, sampling, model.device)
        self._most_read = model.max_positions - shape.drafted_levels
        self._accepted_ids: tuple[int, ...] = ()
        self._drafts = False

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        """Begin a request: read its prompt [T]; the features are not looked at."""
        self.resume(prompt_ids, features, 0)

    @property
    def remembered(self) -> int:
        """How many tokens of prompt and output were read and have one after them."""
        return max(self._backbone.committed - 1, 0)

    @torch.inference_mode()
    def resume(self, prompt_ids: Tensor, features: Tensor, kept: int) -> None:
        """Begin a request whose first ``kept`` tokens were read; the others are read chunk by chunk."""
        self._backbone.keep(kept)
        self._accepted_ids = ()
        self._drafts = self.max_depth > 0
        if self._can_read(len(prompt_ids) - kept):
            self._backbone.remember(prompt_ids[kept:])

    @torch.inference_mode()
    def skip(self, token_ids: Tensor, features: Tensor) -> None:
        """Read tokens [n] that were emitted without a draft."""
        self._accepted_ids = ()
        if self._can_read(len(token_ids)):
            self._backbone.remember(token_ids)

    @torch.inference_mode()
    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        """Draft from ``root``: read the accepted tokens and the root, then grow the tree."""
        ids = (*self._accepted_ids, root)
        if not self._can_read(len(ids)):
            return DraftTree.root_only(root, self._backbone.device)
        self._backbone.emit(ids)
        return self._grow(root, head, clock)

    def commit(self, verdict: Verdict) -> None:
        """Take over the accepted tokens, which are read at the next draft."""
        self._accepted_ids = verdict.accepted_ids

    def _can_read(self, tokens: int) -> bool:
        """Return whether the model has positions for that many more; if not, nothing is drafted any more."""
        self._drafts = self._drafts and self._backbone.committed + tokens <= self._most_read
        return self._drafts


def create(options: DraftModelOptions, context: BuildContext) -> Drafter:
    """Return the drafter for a target.

    Raises:
        CheckpointError: the model cannot be loaded, or has another tokenizer than the target.
        UsageError: the model has fewer layers than asked for.
    """
    target = context.target
    model = load(options.model, options.layers, target)
    warn_unless_it_predicts(SUBJECT, predictor(model), target, why=WHY)
    shape = options.shape(target.device, context.tree, budgeted=context.budgeted)
    drafter = DraftModelDrafter(model, shape, options.sampling(context))
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

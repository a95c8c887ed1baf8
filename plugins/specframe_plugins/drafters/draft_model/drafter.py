"""The drafter ``draft-model``: drafts a dynamic tree with a small language model (arXiv 2211.17192).

It reads tokens alone, so it works for any target with its tokenizer; of the target's features it takes none.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import torch
from torch import Generator, Tensor

from specframe.clock import PhaseClock
from specframe.components import BuildContext, Component
from specframe.language_model import LanguageModel
from specframe.options import option
from specframe.protocols import GatherBackend
from specframe.types import DraftTree, Verdict
from specframe_plugins.drafters.draft_model.backbone import ModelBackbone
from specframe_plugins.drafters.draft_model.diagnosis import SUBJECT, WHY, diagnose, predictor
from specframe_plugins.drafters.draft_model.loading import load
from specframe_plugins.drafters.eagle.sampled_step import SampledStep
from specframe_plugins.drafters.eagle.shape import TREES, TreeOptions, TreeSampling, TreeShape
from specframe_plugins.drafters.eagle.step import DraftStep
from specframe_plugins.drafters.eagle.tree import DynamicTree
from specframe_plugins.drafters.probe import warn_unless_it_predicts


@attrs.frozen(slots=True, kw_only=True)
class DraftModelOptions(TreeOptions):
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


class DraftModelDrafter:
    """Drafts with a language model; beyond its positions it drafts nothing.

    Args:
        model: the language model; its LM head counts in the target's token ids.
        shape: of the draft trees.
        sampling: draws the trees; None takes the most likely tokens.

    Attributes:
        output_head: the LM head.
        branching: beams per level and candidates per beam.
        max_depth: the deepest level of its trees.
        max_nodes: N of its trees, the root included.
    """

    def __init__(self, model: LanguageModel, shape: TreeShape, sampling: TreeSampling | None = None) -> None:
        self.output_head = model.output_head
        self.branching = shape.branching if sampling is None else 1
        self.max_depth = shape.levels
        self.max_nodes = shape.largest if sampling is None else sampling.shape.max_nodes
        beams = shape.branching if sampling is None else sampling.shape.beams
        self._backbone = ModelBackbone(model, beams=beams, levels=shape.drafted_levels)
        self._last_root = model.max_positions - 1 - shape.drafted_levels
        self._accepted_ids: tuple[int, ...] = ()
        self._drafts = False
        self._sampled_step: SampledStep | None = None
        if sampling is not None:
            self._sampled_step = SampledStep(self._backbone, sampling)
            return
        tree = DynamicTree(shape, model.device)
        self._step = DraftStep(self._backbone, tree, self.max_depth, self.branching)

    def draw_from(self, generator: Generator, active_ids: Callable[[int], Tensor]) -> None:
        """Take what trees are drawn from; trees of the most likely tokens draw nothing.

        Args:
            generator: the only source of randomness.
            active_ids: returns the tokens of the first K slots [K] int64.
        """
        if self._sampled_step is not None:
            self._sampled_step.draw_from(generator, active_ids)

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        """Begin a request: read its prompt [T]; the features are not looked at."""
        self.resume(prompt_ids, features, 0)

    @property
    def remembered(self) -> int:
        """How many tokens of prompt and output were read and have one after them."""
        return max(self._backbone.committed - 1, 0)

    @torch.inference_mode()
    def resume(self, prompt_ids: Tensor, features: Tensor, kept: int) -> None:
        """Begin a request whose first ``kept`` tokens were read; the others are read chunk by chunk.

        Args:
            prompt_ids: [T] int64.
            features: not looked at.
            kept: tokens to keep.
        """
        self._backbone.keep(kept)
        self._accepted_ids = ()
        self._drafts = bool(self.max_depth) and len(prompt_ids) <= self._last_root
        if self._drafts:
            self._backbone.remember(prompt_ids[kept:])

    @torch.inference_mode()
    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        """Draft from ``root``: read the accepted tokens and the root, then grow the tree.

        Args:
            root: the last emitted token.
            features: not looked at.
            head: log-softmax and top-k over the active set.
            clock: laps backbone, head and tree.
        """
        ids = (*self._accepted_ids, root)
        self._drafts = self._drafts and self._backbone.committed + len(ids) <= self._last_root + 1
        if not self._drafts:
            return DraftTree.root_only(root, self._backbone.device)
        self._backbone.emit(ids)
        if self._sampled_step is not None:
            tree = self._sampled_step(head, root, clock.lap)
        else:
            tree = DraftTree(*self._step(head, clock.lap))
        clock.lap("draft_tree")
        return tree

    def commit(self, verdict: Verdict) -> None:
        """Take over the accepted tokens, which are read at the next draft."""
        self._accepted_ids = verdict.accepted_ids


def create(options: DraftModelOptions, context: BuildContext) -> DraftModelDrafter:
    """Return the drafter for a target.

    Raises:
        CheckpointError: the model cannot be loaded, or has another tokenizer than the target.
        UsageError: the model has fewer layers than asked for.
    """
    target = context.target
    model = load(options.model, options.layers, target)
    warn_unless_it_predicts(SUBJECT, predictor(model), target, why=WHY)
    shape = options.shape(target.device, context.tree)
    return DraftModelDrafter(model, shape, options.sampling(context))


COMPONENT = Component(
    name="draft-model",
    summary="a small language model, or the target's own first layers; dynamic draft tree",
    options=DraftModelOptions,
    factory=create,
    diagnose=diagnose,
    trees=TREES,
)

"""The drafter ``draft-model``: drafts a dynamic tree with a small language model (arXiv 2211.17192).

It reads tokens alone, and none of the target's features. A model with another tokenizer drafts the tokens
that both tokenizers have, or text (Timor et al., arXiv 2502.05202).
"""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.tree import DraftTree, Verdict
from specframe.model.language_model import LanguageModel
from specframe.registry.components import BuildContext
from specframe_plugins.drafters.components.draft_model import DraftModelOptions
from specframe_plugins.drafters.draft_model.backbone import ModelBackbone
from specframe_plugins.drafters.draft_model.diagnosis import SUBJECT, WHY, predictor
from specframe_plugins.drafters.draft_model.loading import load
from specframe_plugins.drafters.draft_model.reader import Reader
from specframe_plugins.drafters.draft_model.strings import StringDrafter
from specframe_plugins.drafters.draft_model.translated import SharedBackbone
from specframe_plugins.drafters.draft_model.translation import Translation
from specframe_plugins.drafters.graft import grafted
from specframe_plugins.drafters.probe import warn_unless_it_predicts
from specframe_plugins.trees.shape import TreeSampling, TreeShape
from specframe_plugins.trees.tree_drafter import TreeDrafter


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

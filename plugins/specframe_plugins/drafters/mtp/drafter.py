"""The drafter ``mtp``: a dynamic tree with the multi-token-prediction layer that ships inside a checkpoint.

A pair is the embedding of token t + 1 and the target's output at position t, as for EAGLE-2; the layer is one
of the target's own kind. Below the first level its own output stands in for the target's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.tree import DraftTree, Verdict
from specframe.registry.components import BuildContext
from specframe_plugins.drafters.components.mtp import MtpOptions
from specframe_plugins.drafters.graft import grafted
from specframe_plugins.drafters.mtp.backbone import MtpBackbone
from specframe_plugins.drafters.mtp.checkpoint import LoadedMtp, load
from specframe_plugins.drafters.mtp.diagnosis import SUBJECT, predictor
from specframe_plugins.drafters.probe import warn_unless_it_predicts
from specframe_plugins.trees.shape import TreeSampling, TreeShape
from specframe_plugins.trees.tree_drafter import TreeDrafter


class MtpDrafter(TreeDrafter):
    """Drafts with an MTP layer.

    Args:
        loaded: the layer.
        shape: of the draft trees.
        sampling: draws the trees; None takes the most likely tokens.
    """

    def __init__(self, loaded: LoadedMtp, shape: TreeShape, sampling: TreeSampling | None = None) -> None:
        beams = shape.branching if sampling is None else sampling.shape.beams
        self._backbone = MtpBackbone(
            loaded.forward, loaded.embed_tokens, beams=beams, levels=shape.drafted_levels
        )
        self._accepted_ids: tuple[int, ...] = ()
        super().__init__(self._backbone, loaded.output_head, shape, sampling, loaded.forward.device)

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        """Begin a request: read the pairs of the prompt, all but the last, which awaits its token."""
        self.resume(prompt_ids, features, 0)

    @property
    def remembered(self) -> int:
        """How many pairs of prompt and output were read; the last one ends with the last root."""
        return self._backbone.committed

    @torch.inference_mode()
    def resume(self, prompt_ids: Tensor, features: Tensor, kept: int) -> None:
        """Begin a request whose first ``kept`` pairs were read; the others are read chunk by chunk."""
        self._backbone.keep(kept)
        self._accepted_ids = ()
        if self.max_depth:
            self._backbone.remember(prompt_ids[kept + 1 :], features[:-1])

    @torch.inference_mode()
    def skip(self, token_ids: Tensor, features: Tensor) -> None:
        """Read the pairs of tokens [n] that were emitted without a draft, with features [n, H]."""
        self._accepted_ids = ()
        if self.max_depth:
            self._backbone.remember(token_ids, features)

    @torch.inference_mode()
    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        """Draft from ``root``: read the pairs of the accepted tokens and the root, then grow the tree."""
        if not self.max_depth:
            return DraftTree.root_only(root, self._backbone.device)
        self._backbone.emit((*self._accepted_ids, root), features)
        return self._grow(root, head, clock)

    def commit(self, verdict: Verdict) -> None:
        """Take over the accepted tokens, whose pairs are read at the next draft."""
        self._accepted_ids = verdict.accepted_ids


def create(options: MtpOptions, context: BuildContext) -> Drafter:
    """Return the drafter for a target.

    Raises:
        CheckpointError: the checkpoint has no MTP layer, or one that is corrupt or of another model.
    """
    target = context.target
    loaded = load(options.checkpoint, target)
    warn_unless_it_predicts(SUBJECT, predictor(loaded), target)
    shape = options.shape(target.device, context.tree, budgeted=context.budgeted)
    drafter = MtpDrafter(loaded, shape, options.sampling(context))
    return grafted(drafter, options, context)

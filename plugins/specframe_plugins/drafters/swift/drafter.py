"""The drafter ``swift``: the target drafts for itself, with parts of its layers left out (arXiv 2410.06916).

Which attentions and MLPs are left out is searched while the text grows: a candidate reads the last tokens
again, and what counts is how likely it finds each of them. Nothing is trained, and weights and KV cache are
the target's own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.tree import DraftTree, Verdict
from specframe.errors import UsageError
from specframe.model.forward import LeftOut, PartialForward
from specframe.model.target import Target
from specframe.registry.components import BuildContext
from specframe_plugins.drafters.components.swift import SwiftOptions
from specframe_plugins.drafters.graft import grafted
from specframe_plugins.drafters.swift.backbone import PartialBackbone
from specframe_plugins.drafters.swift.parts import LayerParts
from specframe_plugins.drafters.swift.search import LayerSearch
from specframe_plugins.trees.shape import TreeSampling, TreeShape
from specframe_plugins.trees.tree_drafter import TreeDrafter


class SwiftDrafter(TreeDrafter):
    """Drafts with the target's own layers, some of their parts left out.

    Args:
        target: whose forward can leave out parts of its layers.
        options: what is left out, and how it is searched.
        shape: of the draft trees.
        sampling: draws the trees; None takes the most likely tokens.
    """

    def __init__(
        self, target: Target, options: SwiftOptions, shape: TreeShape, sampling: TreeSampling | None = None
    ) -> None:
        beams = shape.branching if sampling is None else sampling.shape.beams
        self._backbone = PartialBackbone(
            lambda: partial_forward(target),
            beams=beams,
            levels=shape.drafted_levels,
            most=options.window,
            device=target.device,
        )
        super().__init__(self._backbone, target.output_head, shape, sampling, target.device)
        self._target, self._options = target, options
        self._parts = LayerParts(target.config)
        self._search = self._parts.search(options.skip) if options.skip and self._parts else None
        self.forget()
        self._text: list[int] = []
        self._length = 0
        self._accepted_ids: tuple[int, ...] = ()
        self._untried = 0

    @property
    def left_out(self) -> LeftOut:
        """What of the layers is left out now."""
        return self._backbone.left_out

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        """Begin a request with a prompt [T]; the features are not looked at."""
        self._text = prompt_ids[-self._options.window - 1 :].tolist()
        self._length = len(prompt_ids)
        self._accepted_ids, self._untried = (), 0
        self._backbone.begin()

    @property
    def remembered(self) -> int:
        """All tokens but the last: what is known of them is in the target's cache."""
        return max(self._length - 1, 0)

    def resume(self, prompt_ids: Tensor, features: Tensor, kept: int) -> None:
        """Begin a request whose first positions the target has read."""
        self.start(prompt_ids, features)

    def skip(self, token_ids: Tensor, features: Tensor) -> None:
        """Take over tokens [n] that were emitted without a draft."""
        self._accepted_ids = ()
        self._read(token_ids.tolist())

    @torch.inference_mode()
    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        """Draft from ``root``; every now and then, first try other parts on the text."""
        self._read([*self._accepted_ids, root])
        self._accepted_ids = ()
        if not self.max_depth or self._target.room_below < self.max_depth:
            return DraftTree.root_only(root, self._backbone.device)
        self._try(head)
        self._backbone.emit(root)
        return self._grow(root, head, clock)

    def commit(self, verdict: Verdict) -> None:
        """Take over the accepted tokens; the target has read them."""
        self._accepted_ids = verdict.accepted_ids

    def forget(self) -> None:
        """Forget what the search has found."""
        if self._search is not None:
            self._search.reset()
            self._leave_out(self._search)

    def _read(self, token_ids: list[int]) -> None:
        self._text = [*self._text, *token_ids][-self._options.window - 1 :]
        self._length += len(token_ids)
        self._untried += len(token_ids)

    def _try(self, head: GatherBackend) -> None:
        """Try other parts, if it is time, and from now on leave out what then is the best."""
        search, options, n = self._search, self._options, self._options.window
        if search is None or search.trials >= options.trials or self._untried < options.every:
            return
        if min(len(self._text) - 1, self._backbone.committed) < n:
            return
        self._untried = 0
        parts = search.candidate()
        text = torch.tensor(self._text, device=self._backbone.device)
        hidden = self._backbone.again(text[:-1], self._parts.left_out(parts))
        search.learn(parts, _predicted(head, hidden, self.branching, text[1:]), n)
        self._leave_out(search)

    def _leave_out(self, search: LayerSearch) -> None:
        self._backbone.left_out = self._parts.left_out(search.best())


def _predicted(head: GatherBackend, hidden: Tensor, k: int, text: Tensor) -> float:
    """Return the mean probability of what came next [n], 0 where it is none of the k likeliest."""
    log_probs, token_ids = head.topk(hidden, k)
    hit = log_probs.exp().where(token_ids == text[:, None], 0.0)
    return float(hit.sum() / len(text))


def partial_forward(target: Target) -> PartialForward:
    """Return what runs a target's layers, if it can leave out parts of them.

    Raises:
        UsageError: it cannot.
    """
    forward = target.forward
    if not isinstance(forward, PartialForward):
        raise UsageError(
            "drafter 'swift' leaves out parts of layers, which target forward "
            f"{target.forward_name!r} cannot; allowed: --target-forward lean or transformers"
        )
    reason = forward.why_whole()
    if reason is not None:
        raise UsageError(
            f"drafter 'swift' cannot leave out parts of {target.name}: {reason}; allowed: another drafter, "
            "such as lookup"
        )
    return forward


def create(options: SwiftOptions, context: BuildContext) -> Drafter:
    """Return the drafter for a target.

    Raises:
        UsageError: no part of the target's layers can be left out.
    """
    target = context.target
    partial_forward(target)
    shape = options.shape(target.device, context.tree, budgeted=context.budgeted)
    return grafted(SwiftDrafter(target, options, shape, options.sampling(context)), options, context)

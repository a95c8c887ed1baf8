"""The drafter ``eagle``: drafts a dynamic tree with an EAGLE head (EAGLE-2, arXiv 2406.16858).

A pair is the embedding of token t + 1 and the feature at position t; from it the head predicts feature t + 1,
and the LM head proposes token t + 2. Below the first level the predicted feature stands in for the target's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from specframe.contracts.clock import Phase, PhaseClock
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.tree import DraftTree, Verdict
from specframe.ops.graphs import CapturedSteps
from specframe.registry.components import BuildContext
from specframe_plugins.drafters.components.eagle import EagleOptions, PairOptions
from specframe_plugins.drafters.eagle.adaptation import Adaptation, LevelRecord
from specframe_plugins.drafters.eagle.adaptation_file import AdaptationFile
from specframe_plugins.drafters.eagle.backbone import PairBackbone
from specframe_plugins.drafters.eagle.cached import CachedHead, CachedLayer, span_of
from specframe_plugins.drafters.eagle.checkpoint import load_chosen
from specframe_plugins.drafters.eagle.diagnosis import predictor
from specframe_plugins.drafters.eagle.inputs import StepInputs
from specframe_plugins.drafters.graft import grafted
from specframe_plugins.drafters.probe import warn_unless_it_predicts
from specframe_plugins.trees.shape import TreeSampling, TreeShape
from specframe_plugins.trees.tree_drafter import TreeDrafter

# Pairs of a prompt that the head reads at once: bounds the memory of what lies between its layers.
_CHUNK = 512


class EagleDrafter(TreeDrafter):
    """Drafts with an EAGLE head, an embedding and an LM head; both are the target's unless it has its own.

    Args:
        head: the EAGLE head, made for the shape's drafted levels.
        embed_tokens: the embedding; the target's scales as the target does.
        output_head: the LM head.
        shape: of the draft trees.
        feature_layers: layers of the target whose inputs are the features; with none, it is its output.
        graphs: captures the draft step; None runs it eagerly.
        sampling: draws the trees; None takes the most likely tokens.
        adaptation: learns from every draft how to correct the head's features; None keeps them as they are.

    Attributes:
        feature_layers: layers of the target whose inputs are the features.
    """

    def __init__(
        self,
        head: CachedLayer,
        embed_tokens: nn.Module,
        output_head: OutputHead,
        shape: TreeShape,
        *,
        feature_layers: tuple[int, ...] = (),
        graphs: CapturedSteps | None = None,
        sampling: TreeSampling | None = None,
        adaptation: Adaptation | None = None,
    ) -> None:
        self.feature_layers = feature_layers
        self._head = head
        self._embed_tokens = embed_tokens
        self._graphs = graphs
        self._accepted_ids: tuple[int, ...] = ()
        self._inputs = StepInputs(
            shape.levels + 1, shape.drafted_levels, head.feature_size, head.device, head.dtype
        )
        self._adaptation = adaptation
        self._record = (
            None
            if adaptation is None
            else LevelRecord(shape.drafted_levels, head.beams, head.feature_size, head.device, head.dtype)
        )
        self._drafted = False  # a draft awaits the target's features
        self._backbone = PairBackbone(head, self._embed, self._inputs, adaptation, self._record)
        super().__init__(self._backbone, output_head, shape, sampling, head.device)

    @torch.inference_mode()
    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        """Begin a request: remember the pairs of the prompt, all but the last, which awaits its token."""
        self.resume(prompt_ids, features, 0)

    @property
    def remembered(self) -> int:
        """How many pairs of prompt and output are remembered; the last one ends with the last root."""
        return self._head.length

    @torch.inference_mode()
    def resume(self, prompt_ids: Tensor, features: Tensor, kept: int) -> None:
        """Begin a request whose first ``kept`` pairs are remembered; the others are read chunk by chunk."""
        self._head.keep(kept)
        self._accepted_ids, self._drafted = (), False
        if self.max_depth:
            pairs = zip(prompt_ids[kept + 1 :].split(_CHUNK), features[:-1].split(_CHUNK), strict=True)
            for token_ids, part in pairs:
                self._remember(token_ids, part)

    @torch.inference_mode()
    def skip(self, token_ids: Tensor, features: Tensor) -> None:
        """Remember the pairs of tokens [n] that were emitted without a draft, with features [n, F]."""
        self._learn_from(features)
        self._accepted_ids = ()
        if self.max_depth:
            self._remember(token_ids, features)

    @torch.inference_mode()
    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        """Draft from ``root``: commit the pairs of the accepted tokens and the root, then grow the tree.

        Each feature pairs with the token after it, the last one with the root. A captured step is one lap of
        the backbone.
        """
        if not self.max_depth:
            return DraftTree.root_only(root, self._head.device)
        self._learn_from(features)
        ids = [*self._accepted_ids, root]
        many = len(ids) - self._inputs.pairs
        if many > 0:
            self._remember(torch.tensor(ids[:many], device=self._head.device), features[:many])
            ids, features = ids[many:], features[many:]
        moved = self._head.reserve(self._inputs.reach)
        self._inputs.fill(ids, features, self._head.front + self._head.length)
        self._head.length += len(ids)
        self._drafted = True
        span = self._backbone.span = span_of(self._head.length)
        captured = self._budget is None and self._sampled_step is None and head.capturable
        if self._graphs is None or not captured:
            return self._grow(root, head, clock)
        if moved:
            self._graphs.forget()
        head.join()
        tree = DraftTree(*self._graphs.run((span, id(head)), lambda: self._step(head, _no_lap)))
        clock.lap("draft_backbone")
        return tree

    def commit(self, verdict: Verdict) -> None:
        """Remember the accepted tokens; their pairs are complete at the next draft."""
        self._accepted_ids = verdict.accepted_ids

    def forget(self) -> None:
        """Forget what the adaptation learnt in earlier requests."""
        if self._adaptation is not None:
            self._adaptation.forget()

    def finish(self) -> None:
        """Have the adaptation stored, where it was asked for."""
        if self._adaptation is not None:
            self._adaptation.save()

    def _learn_from(self, features: Tensor) -> None:
        """Let the adaptation learn from the last draft, given the features at its accepted path [n, F]."""
        if self._adaptation is None or self._record is None or not self._drafted:
            return
        self._drafted = False
        predicted = self._record.along(self._accepted_ids)
        for one, feature in zip(predicted, features.to(self._head.dtype), strict=False):
            self._adaptation.learn(one, feature)

    def _remember(self, token_ids: Tensor, features: Tensor) -> None:
        if self._head.reserve(len(token_ids)) and self._graphs is not None:
            self._graphs.forget()
        self._head.remember(self._embed(token_ids), features.to(self._head.dtype))

    def _embed(self, token_ids: Tensor) -> Tensor:
        embeddings: Tensor = self._embed_tokens(token_ids)
        return embeddings.to(self._head.dtype)


def _no_lap(phase: Phase) -> None:
    """Nothing can be timed inside a graph."""


def create(options: EagleOptions, context: BuildContext) -> Drafter:
    """Return the drafter for a target.

    Raises:
        CheckpointError: the checkpoint is missing, corrupt, or made for another target.
        SpecframeError: what is learnt could not be written where it is to be.
        UsageError: no checkpoint was given and none ships for the target.
    """
    target = context.target
    head, _ = load_chosen(options.checkpoint, target, context.data)
    embed_tokens = head.embed_tokens if head.config.own_embedding else target.embed_tokens
    warn_unless_it_predicts("EAGLE head", predictor(head, embed_tokens, target.output_head), target)
    adaptation = None
    if options.adapt:
        size, place = head.config.hidden_size, options.adapt_file
        store = None if place is None else AdaptationFile(place, head, size)
        adaptation = Adaptation(size, target.device, target.dtype, store)
    make_layer = partial(CachedHead, head)
    return assemble(make_layer, embed_tokens, target.output_head, options, context, adaptation=adaptation)


def assemble(
    make_layer: Callable[..., CachedLayer],
    embed_tokens: nn.Module,
    output_head: OutputHead,
    options: PairOptions,
    context: BuildContext,
    feature_layers: tuple[int, ...] = (),
    adaptation: Adaptation | None = None,
) -> Drafter:
    """Return a drafter with trees and a path of the context as the options say.

    Args:
        make_layer: returns the cached layer for ``beams`` and ``levels``.
        embed_tokens: the embedding.
        output_head: the LM head.
        options: of the trees and of the path.
        context: of the drafter.
        feature_layers: layers of the target whose inputs are the features.
        adaptation: corrects the head's features; None keeps them as they are.
    """
    shape = options.shape(context.target.device, context.tree, budgeted=context.budgeted)
    sampling = options.sampling(context)
    beams = shape.branching if sampling is None else sampling.shape.beams
    drafter = EagleDrafter(
        make_layer(beams=beams, levels=shape.drafted_levels),
        embed_tokens,
        output_head,
        shape,
        feature_layers=feature_layers,
        graphs=CapturedSteps(context.target.device) if context.cuda_graph else None,
        sampling=sampling,
        adaptation=adaptation,
    )
    return grafted(drafter, options, context)

"""Drafts with random weights: an EAGLE-2 layer and an LM head alone, without the target around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import attrs
import torch
from torch import Tensor, nn

from specframe.bench.report.traffic import Model
from specframe.contracts.clock import PhaseClock
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import GatherBackend, VocabularyBuilder
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.drafting.active import ActiveDrafting
from specframe.model.target import Prefill
from specframe.ops.graphs import CapturedSteps
from specframe.vocabulary.store import VocabularyStore
from specframe.vocabulary.whole import WholeVocabulary
from specframe_plugins.drafters.eagle.cached import CachedHead
from specframe_plugins.drafters.eagle.drafter import EagleDrafter
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.gathers.torch import TorchGather
from specframe_plugins.gathers.triton.indexed import IndexedGather
from specframe_plugins.gathers.triton.packed import PackedGather
from specframe_plugins.trees.shape import TreeShape
from specframe_plugins.vocabularies.components.nanospec import NanospecOptions
from specframe_plugins.vocabularies.full import FullVocabulary
from specframe_plugins.vocabularies.nanospec import NanospecVocabulary
from specframe_plugins.vocabularies.static import StaticVocabulary

Strategy = Literal["full", "static", "nanospec"]

GATHERS: dict[str, Callable[[], GatherBackend]] = {
    "torch": TorchGather,
    "triton": PackedGather,
    "triton-indexed": IndexedGather,
}


@attrs.frozen(eq=False)
class Weights:
    """Random weights of a drafter and of the LM head that it shares with a target.

    Attributes:
        model: the sizes.
        layer: the EAGLE-2 layer.
        head: the LM head.
        embedding: the target's; it shares the head's weight, which costs no time and saves memory.
    """

    model: Model
    layer: EagleHead
    head: OutputHead
    embedding: nn.Embedding

    @classmethod
    def random(cls, model: Model, device: str, dtype: torch.dtype) -> Weights:
        """Return the same weights for the same sizes."""
        torch.manual_seed(0)
        config = EagleConfig(
            vocab_size=model.vocab_size,
            hidden_size=model.hidden_size,
            intermediate_size=model.intermediate_size,
            num_attention_heads=model.heads,
            num_key_value_heads=model.kv_heads,
            head_dim=model.head_size,
            input_norms=False,
            output_norm=False,
        )
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with torch.device(device):
                layer = EagleHead(config).eval().requires_grad_(False)
                weight = torch.randn(model.vocab_size, model.hidden_size).mul_(4 * model.hidden_size**-0.5)
        finally:
            torch.set_default_dtype(before)
        return cls(model, layer, OutputHead(weight), nn.Embedding.from_pretrained(weight))

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.head.weight.device


def make_drafting(
    weights: Weights,
    strategy: Strategy,
    active: int,
    gather: GatherBackend,
    shape: TreeShape,
    graphs: CapturedSteps | None,
) -> ActiveDrafting:
    """Return drafting over ``active`` tokens at most, captured if ``graphs`` are given."""
    drafter = EagleDrafter(
        CachedHead(weights.layer, beams=shape.branching, levels=shape.drafted_levels),
        weights.embedding,
        weights.head,
        shape,
        graphs=graphs,
    )
    builder = _builder(weights, strategy, active)
    if builder.capacity is None:
        return ActiveDrafting(drafter, builder, WholeVocabulary(weights.head, gather))
    store = VocabularyStore(
        weights.head,
        gather,
        capacity=builder.capacity,
        eviction=builder.eviction,
        pinned_ids=builder.pinned_ids,
    )
    return ActiveDrafting(drafter, builder, store)


def _builder(weights: Weights, strategy: Strategy, active: int) -> VocabularyBuilder:
    vocab_size, device = weights.model.vocab_size, weights.device
    if strategy == "full":
        return FullVocabulary()
    if strategy == "static":
        ids = torch.randperm(vocab_size, generator=torch.Generator().manual_seed(0))[:active]
        return StaticVocabulary(ids.to(device))
    pinned = torch.arange(min(8, active // 2), device=device)
    return NanospecVocabulary(NanospecOptions(capacity=active, core=0), pinned, vocab_size)


class RandomPasses:
    """A request whose target passes are drawn: drafts that agree see the same ones.

    Args:
        drafting: what drafts.
        weights: its weights.
        seed: of what is drawn.
        prompt_tokens: T.
    """

    def __init__(self, drafting: ActiveDrafting, weights: Weights, seed: int, prompt_tokens: int) -> None:
        self._drafting, self._weights = drafting, weights
        self._source = torch.Generator().manual_seed(seed)
        self._clock = PhaseClock()
        self._clock.start()
        features = self._features(prompt_tokens)
        window = min(32, prompt_tokens)
        prefill = Prefill(torch.empty(1, 0), features, TopTokens(self._ids(window, 3)))
        drafting.start(self._ids(prompt_tokens), prefill, self._source, self._clock)
        self._root, self._last = 7, features[-1:]

    @torch.inference_mode()
    def step(self) -> DraftTree:
        """Draft, accept some path, and learn from it; return the tree."""
        tree = self._drafting.draft(self._root, self._last, self._clock)
        token_ids, parents = tree.token_ids.tolist(), tree.parents.tolist()
        path = [0]
        for _ in range(self._draw(6)):
            children = [node for node, parent in enumerate(parents) if node and parent == path[-1]]
            if not children:
                break
            path.append(children[len(path) % len(children)])
        self._root = self._draw(self._weights.model.vocab_size)
        self._last = self._features(len(path))
        accepted = tuple(token_ids[node] for node in path[1:])
        verdict = Verdict(tuple(path), accepted, self._root, path_ends_at_leaf=False)
        self._drafting.learn(verdict, tree, TopTokens(self._ids(len(tree), 3)), self._clock)
        return tree

    def _draw(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self._source))

    def _ids(self, *shape: int) -> Tensor:
        ids = torch.randint(self._weights.model.vocab_size, shape, generator=self._source)
        return ids.to(self._weights.device)

    def _features(self, count: int) -> Tensor:
        features = torch.randn(count, self._weights.model.hidden_size, generator=self._source)
        return features.to(self._weights.head.weight)

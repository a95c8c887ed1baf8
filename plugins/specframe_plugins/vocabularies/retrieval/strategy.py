"""Strategy ``retrieval``: what ``nanospec`` admits, its neighbours, and what followed it.

Source: EvoSpec (arXiv 2605.27390), whose draft vocabulary is extended by tokens that are retrieved for the
context, by meaning and by statistics. The online alignment of the drafter is no part of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.protocols import VocabularyBuilder
from specframe.contracts.tree import DraftTree, Verdict
from specframe.registry.components import BuildContext
from specframe_plugins.vocabularies.components.retrieval import RetrievalOptions
from specframe_plugins.vocabularies.nanospec import NanospecVocabulary, build_admission
from specframe_plugins.vocabularies.retrieval.neighbours import Neighbours
from specframe_plugins.vocabularies.retrieval.successors import Successors


class RetrievalVocabulary(VocabularyBuilder):
    """Admits what another strategy does, and with it what it retrieves.

    What is retrieved is admitted before, so that it leaves sooner where there are too many.

    Args:
        admission: the other strategy.
        neighbours: of the embedding; None for none.
        successors: of the request; None for none.
    """

    def __init__(
        self, admission: NanospecVocabulary, neighbours: Neighbours | None, successors: Successors | None
    ) -> None:
        self._admission, self._neighbours, self._successors = admission, neighbours, successors
        self.capacity, self.pinned_ids = admission.capacity, admission.pinned_ids
        self.harvest_topk, self.prompt_window = admission.harvest_topk, admission.prompt_window
        self.eviction, self.keeps_active_set = admission.eviction, admission.keeps_active_set

    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Tensor:
        """Return the neighbours of the prompt's tokens, then what the other strategy starts with [n]."""
        if self._successors is not None:
            self._successors.forget()
            text = prompt_ids.tolist()
            self._successors.learn_text(text)
            if target_topk_ids is not None:
                self._learn(text[-len(target_topk_ids) :], target_topk_ids)
        return torch.cat([self._near(prompt_ids), self._admission.start(prompt_ids, target_topk_ids)])

    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Tensor:
        """Return what is retrieved for the emitted tokens, then what the other strategy admits [n]."""
        emitted = list(verdict.emitted_ids)
        device = tree.token_ids.device
        parts = [self._near(torch.tensor(emitted, device=device))]
        if self._successors is not None:
            nodes = tree.token_ids.tolist()
            if target_topk_ids is not None:
                self._learn(nodes, target_topk_ids)
            self._successors.learn_text([nodes[0], *emitted])
            followed = self._successors.of(emitted)
            parts.append(torch.tensor(followed, dtype=torch.int64, device=device))
        return torch.cat([*parts, self._admission.observe(verdict, tree, target_topk_ids)])

    def _near(self, ids: Tensor) -> Tensor:
        return ids[:0] if self._neighbours is None else self._neighbours.of(torch.unique(ids))

    def _learn(self, tokens: list[int], topk_ids: Tensor) -> None:
        assert self._successors is not None
        for token, ids in zip(tokens, topk_ids.tolist(), strict=True):
            self._successors.learn(token, ids)


def build(options: RetrievalOptions, context: BuildContext) -> RetrievalVocabulary:
    """Return the strategy for a target."""
    target = context.target
    neighbours = None
    if options.neighbours:
        neighbours = Neighbours(target.embed_tokens, target.vocab_size, options.neighbours, target.device)
    successors = Successors(options.successors) if options.successors else None
    return RetrievalVocabulary(build_admission(options, context), neighbours, successors)

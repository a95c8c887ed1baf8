"""Requests to a draft model, whose trees are held against what the model says when it reads all at once."""

from __future__ import annotations

import torch
from tiny_engines import PROMPT
from torch import Tensor

from specframe.contracts.clock import PhaseClock
from specframe.contracts.kinds import TREE_KINDS, TreeKind
from specframe.contracts.protocols import Drafter
from specframe.contracts.tree import DraftTree, Verdict
from specframe.model.language_model import LanguageModel
from specframe.testing import ReferenceGather
from specframe.vocabulary.draft_head import DraftHead
from specframe_plugins.trees.shape import TreeShape

SHAPE = TreeShape(depth=4, branching=3, nodes=12)
DRAWN: tuple[TreeKind, ...] = tuple(kind for kind in TREE_KINDS if kind != "top-k")


class Request:
    """One request, with all its tokens, from which the model recomputes any path without a cache."""

    def __init__(self, model: LanguageModel, drafter: Drafter, prompt: list[int] = PROMPT) -> None:
        self.model, self.drafter, self.tokens = model, drafter, [*prompt]
        self.gather = DraftHead(ReferenceGather(), drafter.output_head.row_map)
        self.gather.bind(drafter.output_head, None)
        self.clock = PhaseClock()
        self.clock.start()
        drafter.start(torch.tensor(prompt), torch.empty(len(prompt), 0))

    def draft(self, root: int) -> DraftTree:
        self.tokens.append(root)
        return self.drafter.draft(root, torch.empty(1, 0), self.gather, self.clock)

    def accept(self, tree: DraftTree, leaf: int) -> None:
        path = [leaf]
        while path[0]:
            path.insert(0, int(tree.parents[path[0]]))
        accepted = tuple(tree.token_ids[path[1:]].tolist())
        self.drafter.commit(Verdict(tuple(path), accepted, 0, path_ends_at_leaf=False))
        self.tokens += accepted

    def log_probs_after(self, path: list[int]) -> Tensor:
        """Return what the model says after the request's tokens and a drafted path [V]."""
        logits: Tensor = self.model.model(torch.tensor([[*self.tokens, *path]])).logits[0, -1]
        return logits.log_softmax(-1)

    def assert_follows_the_model(self, tree: DraftTree) -> None:
        tokens, parents = tree.token_ids.tolist(), tree.parents.tolist()
        paths: list[list[int]] = [[]]
        for node in range(1, len(tree)):
            expected = self.log_probs_after(paths[parents[node]])[tokens[node]]
            torch.testing.assert_close(tree.log_probs[node], expected, rtol=1e-3, atol=1e-3)
            paths.append([*paths[parents[node]], tokens[node]])
        assert max(map(len, paths)) > 1

"""What the checks compare with, and the awkward inputs that they share."""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.active_set import ActiveSet
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import GatherBackend
from specframe.contracts.screen import Candidates
from specframe.contracts.tree import DraftTree, Verdict


class ReferenceGather(GatherBackend):
    """The gather backend as a definition: all V logits, cut down to the active set; nothing is packed."""

    scores_candidates = True

    def bind(self, head: OutputHead, active: ActiveSet | None) -> None:
        """Attach to a head and an active set; None means the full vocabulary."""
        self._head = head
        self._active = active

    def fetch(self, slots: Tensor, ids: Tensor) -> None:
        """Copy nothing: rows are read from the head."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of all active tokens, by slot [N, K] float32."""
        return self._head.logits(hidden).float()[:, self.active_ids()]

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and token ids [N, k] int64 of the k best active tokens."""
        ids, n = self.active_ids(), hidden.shape[0]
        found = min(k, len(ids))
        log_probs = torch.full((n, k), -torch.inf, device=hidden.device)
        token_ids = torch.full((n, k), -1, device=hidden.device)
        if found:
            best = self.logits(hidden).log_softmax(dim=-1).topk(found)
            log_probs[:, :found], token_ids[:, :found] = best.values, ids[best.indices]
        return log_probs, token_ids

    def candidate_topk(self, hidden: Tensor, k: int, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, k] float32 and rows [N, k] int64 of the best of both."""
        logits = self._head.logits(hidden).float()
        wanted = torch.zeros(len(hidden), self._head.vocab_size + 1, dtype=torch.bool, device=hidden.device)
        wanted.scatter_(1, candidates.rows % wanted.shape[1], True)  # -1, which is none, goes to the end
        wanted = wanted[:, :-1]
        wanted[:, self.active_ids()] = True
        logits = logits.masked_fill(~wanted, -torch.inf)
        total = logits.logsumexp(dim=1) if candidates.log_total is None else candidates.log_total
        best = logits.topk(min(k, logits.shape[1]))
        nothing = best.values.isneginf()
        log_probs = (best.values - total[:, None]).masked_fill(nothing, -torch.inf)
        padding = (0, k - log_probs.shape[1])
        return (
            torch.nn.functional.pad(log_probs, padding, value=-torch.inf),
            torch.nn.functional.pad(best.indices.masked_fill(nothing, -1), padding, value=-1),
        )

    @property
    def vocab_size(self) -> int:
        """Rows of the head."""
        return self._head.vocab_size

    def active_ids(self) -> Tensor:
        """Return the active tokens, by slot [K] int64."""
        if self._active is None:
            return torch.arange(self._head.vocab_size, device=self._head.device)
        return self._active.token_of[: int(self._active.count)].long()


def generator() -> torch.Generator:
    """Return the same source of randomness every time."""
    return torch.Generator().manual_seed(20260731)


def random_head(
    source: torch.Generator,
    device: torch.device,
    dtype: torch.dtype,
    biased: bool,
    scale: float,
    softcap: float | None,
    shape: tuple[int, int] = (97, 16),
) -> OutputHead:
    """Return a random LM head of V rows and H columns."""
    weight = torch.randn(*shape, generator=source).to(device, dtype)
    bias = torch.randn(shape[0], generator=source).to(device, dtype) if biased else None
    return OutputHead(weight, bias, scale, softcap)


def random_tree(size: int, vocab_size: int, source: torch.Generator) -> DraftTree:
    """Return a tree in topological order in which no two siblings hold the same token."""
    tokens, parents, depths = [int(torch.randint(vocab_size, (), generator=source))], [-1], [0]
    taken: set[tuple[int, int]] = set()
    while len(tokens) < size:
        parent = int(torch.randint(len(tokens), (), generator=source))
        token = int(torch.randint(vocab_size, (), generator=source))
        if (parent, token) not in taken:
            taken.add((parent, token))
            tokens.append(token)
            parents.append(parent)
            depths.append(depths[parent] + 1)
    log_probs = -torch.rand(size, generator=source)
    log_probs[0] = 0.0
    return DraftTree(torch.tensor(tokens), torch.tensor(parents), torch.tensor(depths), log_probs)


def last_node(tree: DraftTree) -> int:
    """Return the last node that is not padding, that is, not one of the copies of the root at the end."""
    parents = tree.parents.tolist()
    return max((node for node in range(1, len(parents)) if parents[node] != -1), default=0)


def path_to(tree: DraftTree, node: int) -> tuple[int, ...]:
    """Return the nodes from the root down to a node."""
    path = [node]
    while path[0]:
        path.insert(0, int(tree.parents[path[0]]))
    return tuple(path)


def verdict_on(tree: DraftTree, path: tuple[int, ...], next_token: int) -> Verdict:
    """Return the verdict that accepts a path."""
    return Verdict(
        path=path,
        accepted_ids=tuple(tree.token_ids[list(path[1:])].tolist()),
        next_token=next_token,
        path_ends_at_leaf=not bool((tree.parents == path[-1]).any()),
    )


def tensors_of(tree: DraftTree) -> tuple[Tensor, ...]:
    """Return what says what a tree is, four tensors [N]."""
    return tree.token_ids, tree.parents, tree.depths, tree.log_probs

"""Drafting text instead of tokens, which the target's tokenizer then takes apart.

Source: string-level exact match of Timor et al. (arXiv 2502.05202).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from specframe.contracts.budget import Budget
from specframe.contracts.clock import PhaseClock
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.tree import DraftTree, Verdict
from specframe.model.language_model import LanguageModel
from specframe_plugins.drafters.draft_model.reader import Reader
from specframe_plugins.drafters.draft_model.translated import TranslatedBackbone
from specframe_plugins.drafters.draft_model.translation import Translation


class StringDrafter(Drafter):
    """Drafts a chain of the target's tokens, as far as they are active.

    The draft model takes its most likely token each time, out of all that it has: the gather backend is not
    asked, and the host reads every token. So no token was drawn, and none has a probability of its own; each
    has that of the draft model's tokens that begin in it.

    Args:
        model: the draft model, with its own LM head.
        translation: between its tokens and the target's.
        output_head: the target's LM head, since an active set is one of its rows.
        depth: tokens at most, of the draft model and of the chain.

    Attributes:
        output_head: the target's LM head.
        branching: 1.
        max_depth: tokens of the chain at most.
        max_nodes: the root and the chain.
    """

    branching = 1
    can_pause = True

    def __init__(
        self, model: LanguageModel, translation: Translation, output_head: OutputHead, depth: int
    ) -> None:
        self.output_head, self.max_depth, self.max_nodes = output_head, depth, depth + 1
        self._head, self._translation = model.output_head, translation
        self._backbone = TranslatedBackbone(model, translation, beams=1, levels=max(depth - 1, 0))
        self._reader = Reader(self._backbone, model.max_positions - max(depth - 1, 0), drafts=depth > 0)
        self._budget: Budget | None = None
        self._are_active: Callable[[tuple[int, ...]], Tensor] | None = None
        self._first = torch.zeros(1, dtype=torch.int64, device=model.device)

    def draft_within(self, budget: Budget) -> None:
        """Take what says how many tokens are worth drafting."""
        self._budget = budget

    def propose_among(self, are_active: Callable[[tuple[int, ...]], Tensor]) -> None:
        """Take what says which tokens may be proposed, as in ``Drafter``."""
        self._are_active = are_active

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
        """Draft from ``root``: read the accepted tokens and the root, then write on."""
        if not self._reader.emit(root):
            return DraftTree.root_only(root, self._backbone.device)
        token_ids, log_probs = self._write_on(clock)
        length = self._active(token_ids)
        clock.lap("draft_tree")
        return _chain([root, *token_ids[:length]], [0.0, *log_probs[:length]], self._backbone.device)

    def commit(self, verdict: Verdict) -> None:
        """Take over the accepted tokens, which are read at the next draft."""
        self._reader.accept(verdict)

    def _write_on(self, clock: PhaseClock) -> tuple[list[int], list[float]]:
        """Return the target's tokens for what the draft model writes, and the log-probability of each."""
        hidden, total = self._backbone.read(), 0.0
        clock.lap("draft_backbone")
        text, begins, sure = b"", list[int](), list[float]()
        written: list[tuple[int, int]] = []
        last: int | None = None
        longest = self.max_depth
        for level in range(1, self.max_depth + 1):
            best = self._head.logits(hidden).float().log_softmax(dim=-1).max(dim=-1)
            own_id, log_prob = int(best.indices), min(float(best.values), 0.0)
            clock.lap("draft_head")
            said = self._translation.says(own_id)
            begins.append(len(text))
            sure.append(log_prob)
            if said is None:
                last = self._translation.same(own_id)
                break
            text, total = text + said, total + log_prob
            written = self._translation.written(text)
            if len(written) >= longest or level == longest:
                break
            if self._budget is not None and not self._budget.beams([total]):
                longest = level
                break
            clock.lap("draft_tree")
            hidden = self._backbone.extend(best.indices, self._first, level)
            clock.lap("draft_backbone")
        if last is not None:
            written = [*written, (last, len(text))]
        starts = [start for _, start in written[1:]]
        log_probs = [0.0] * len(written)
        for start, log_prob in zip(begins, sure, strict=True):
            log_probs[min(sum(one <= start for one in starts), len(written) - 1)] += log_prob
        return [token_id for token_id, _ in written][:longest], log_probs[:longest]

    def _active(self, token_ids: list[int]) -> int:
        """Return how many of the first tokens of a chain are active."""
        if not token_ids or self._are_active is None:
            return 0
        active = self._are_active(tuple(token_ids)).tolist()
        return active.index(False) if False in active else len(active)


def _chain(token_ids: list[int], log_probs: list[float], device: torch.device) -> DraftTree:
    """Return the tree of one path, the root included."""
    return DraftTree(
        token_ids=torch.tensor(token_ids, device=device),
        parents=torch.arange(-1, len(token_ids) - 1, device=device),
        depths=torch.arange(len(token_ids), device=device),
        log_probs=torch.tensor(log_probs, dtype=torch.float32, device=device),
    )

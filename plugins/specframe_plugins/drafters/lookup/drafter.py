"""The drafter ``lookup``, and what lets others use it: drafts what the context has said before.

A path of the tokens that followed the last time is grafted onto the tree of another drafter, and stands alone
where a head would not pay beside it. Source: prompt lookup decoding (Saxena 2023); SAM decoding (arXiv
2411.10666) chooses between the two by the length of the match, where here its measured rate decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import attrs
import torch
from torch import Tensor

from specframe.contracts.budget import Budget
from specframe.contracts.clock import PhaseClock
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.options import option
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.tree import DraftTree, Verdict
from specframe.registry.components import BuildContext, Component
from specframe_plugins.drafters.lookup.context import Continuation, TextIndex
from specframe_plugins.drafters.lookup.graft import graft
from specframe_plugins.drafters.lookup.options import LONGEST
from specframe_plugins.drafters.lookup.rates import RepetitionRates

# A path that is less likely is not worth its node in a target pass.
_LEAST_LIKELY = 0.05
# Without a budget, another drafter's tree is left out where the path's first token is likelier than this.
_LIKELY_ENOUGH = 0.6
# Tokens that the other drafter is told of at once, while its head does not draft: bounds the features kept.
_TOLD_AT_ONCE = 64


class LookupDrafter(Drafter):
    """Drafts what followed the last time that the text ended like this, beside another drafter's tree.

    It proposes nothing before it knows what is active, and nothing of a path behind the first token that is
    not.

    Args:
        inner: the other drafter, of trees of the most likely tokens.
        length: tokens of the path at most.

    Attributes:
        output_head: the other drafter's LM head.
        branching: the other drafter's.
        max_depth: the deepest level of its trees.
        max_nodes: N of its trees, the root included.
        feature_layers: the other drafter's.
    """

    can_pause = copies_context = True

    def __init__(self, inner: Drafter, length: int) -> None:
        self._inner, self._length = inner, length
        self.output_head = inner.output_head
        self.branching = inner.branching
        self.max_depth = max(inner.max_depth, length)
        self.max_nodes = inner.max_nodes + length
        self.feature_layers = inner.feature_layers
        self._are_active: Callable[[tuple[int, ...]], Tensor] | None = None
        self._accepted_ids: tuple[int, ...] = ()
        self._budget: Budget | None = None
        self._uncommitted: Verdict | None = None
        self._begin([])

    def draft_within(self, budget: Budget) -> None:
        """Take what says whether a head pays beside the path; the other drafter does so too."""
        self._budget = budget
        self._inner.draft_within(budget)

    def propose_among(self, are_active: Callable[[tuple[int, ...]], Tensor]) -> None:
        """Take what says which tokens may be proposed, as in ``Drafter``."""
        self._are_active = are_active

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        """Begin a request with a prompt [T]; the other drafter reads its features [T, F]."""
        self._inner.start(prompt_ids, features)
        self._begin(prompt_ids.tolist())

    @property
    def remembered(self) -> int:
        """How much the other drafter remembers."""
        self._tell()
        return self._inner.remembered

    def resume(self, prompt_ids: Tensor, features: Tensor, kept: int) -> None:
        """Begin a request of which the other drafter has read the first ``kept`` positions."""
        self._inner.resume(prompt_ids, features, kept)
        self._begin(prompt_ids.tolist())

    def skip(self, token_ids: Tensor, features: Tensor) -> None:
        """Take over tokens [n] that were emitted without a draft, as in ``Drafter``."""
        self._leave_untold(tuple(token_ids.tolist()), features)
        self._tell()
        ids, pending = token_ids.tolist(), len(self._accepted_ids) + 1
        self._read(ids[:pending])
        for token_id in ids[pending:]:
            self._read([token_id])

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        """Draft from ``root``: the path alone where it is likely, else beside the other drafter's tree.

        The clock laps the phases of the other drafter; the path is part of ``draft_tree``.
        """
        emitted = (*self._accepted_ids, root)
        self._read(emitted)
        token_ids, log_probs = self._path(self._continuation)
        clock.lap("draft_tree")
        if self._wants_head(log_probs):
            self._tell()
            tree = self._inner.draft(root, features, head, clock)
        else:
            self._leave_untold(emitted, features)
            if sum(len(ids) for ids, _ in self._untold) >= _TOLD_AT_ONCE:
                self._tell()
            clock.lap("draft_backbone")
            clock.lap("draft_head")  # nothing: only a captured step has no time of its head
            tree = DraftTree.root_only(root, features.device)
        tree = graft(tree, token_ids, log_probs) if token_ids else tree
        clock.lap("draft_tree")
        return tree

    def commit(self, verdict: Verdict) -> None:
        """Take over the accepted path; the other drafter does so as soon as it knows all before it."""
        self._accepted_ids = verdict.accepted_ids
        if self._untold:
            self._uncommitted = verdict
        else:
            self._inner.commit(verdict)

    def _begin(self, prompt_ids: list[int]) -> None:
        """Forget all that earlier requests said."""
        self._untold: list[tuple[tuple[int, ...], Tensor]] = []
        self._uncommitted = None
        self._text, self._rates = TextIndex(prompt_ids), RepetitionRates()
        self._accepted_ids = ()
        self._continuation = Continuation(0)

    def _wants_head(self, path: list[float]) -> bool:
        """Return whether the other drafter drafts beside a path of these log-probabilities."""
        if self._budget is not None:
            return self._budget.wants_head(path)
        return not path or path[0] < math.log(_LIKELY_ENOUGH)

    def _leave_untold(self, emitted: tuple[int, ...], features: Tensor) -> None:
        """Note what the other drafter has to read before its next draft."""
        self._untold.append((emitted, features))
        self._uncommitted = None

    def _tell(self) -> None:
        """Let the other drafter read what was emitted while its head did not draft."""
        if not self._untold:
            return
        ids = [token_id for emitted, _ in self._untold for token_id in emitted]
        features = torch.cat([features for _, features in self._untold])
        self._untold = []
        self._inner.skip(torch.tensor(ids, device=features.device), features)
        if self._uncommitted is not None:
            self._inner.commit(self._uncommitted)
            self._uncommitted = None

    def _read(self, token_ids: Sequence[int]) -> None:
        """Add what one target pass emitted, and learn from it how far the text repeated itself."""
        self._rates.learn(self._continuation, token_ids)
        self._text.extend(token_ids)
        self._continuation = self._text.continuation(self._length)
        self._accepted_ids = ()

    def _path(self, continuation: Continuation) -> tuple[tuple[int, ...], list[float]]:
        """Return the part of a continuation that is likely and active, and its log-probabilities."""
        log_probs: list[float] = []
        least = math.log(_LEAST_LIKELY)
        for equal in range(continuation.equal, continuation.equal + len(continuation.token_ids)):
            log_prob = math.log(self._rates.estimate(equal))
            least -= log_prob
            if least > 0.0:
                break
            log_probs.append(log_prob)
        token_ids = continuation.token_ids[: len(log_probs)]
        if not token_ids or self._are_active is None:
            return (), []
        active = self._are_active(token_ids).tolist()
        allowed = active.index(False) if False in active else len(active)
        return token_ids[:allowed], log_probs[:allowed]


def with_lookup(drafter: Drafter, length: int) -> Drafter:
    """Return the drafter with a path of up to ``length`` tokens in its trees; 0 leaves it as it is."""
    return LookupDrafter(drafter, length) if length else drafter


class _NothingElse(Drafter):
    """The other drafter of ``lookup`` alone: it drafts nothing and has nothing to remember.

    Args:
        output_head: the target's LM head, since an active set is one of LM-head rows.
    """

    branching = 1
    max_depth = 0
    max_nodes = 1
    can_pause = True

    def __init__(self, output_head: OutputHead) -> None:
        self.output_head = output_head
        self._read = 0

    @property
    def remembered(self) -> int:
        return self._read

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        self._read = len(prompt_ids) - 1

    def resume(self, prompt_ids: Tensor, features: Tensor, kept: int) -> None:
        self.start(prompt_ids, features)

    def skip(self, token_ids: Tensor, features: Tensor) -> None:
        self._read += len(token_ids)

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        self._read += len(features)
        return DraftTree.root_only(root, features.device)

    def commit(self, verdict: Verdict) -> None:
        """Nothing was drafted."""


@attrs.frozen(slots=True, kw_only=True)
class LookupOptions:
    """Options of the drafter ``lookup``."""

    length: int = option(LONGEST, help="longest continuation to draft", unit="tokens", minimum=1)


def create(options: LookupOptions, context: BuildContext) -> LookupDrafter:
    """Return the drafter for a target."""
    return LookupDrafter(_NothingElse(context.target.output_head), options.length)


COMPONENT = Component(
    name="lookup",
    summary="no head: what followed the last time that the context said the same",
    options=LookupOptions,
    factory=create,
)

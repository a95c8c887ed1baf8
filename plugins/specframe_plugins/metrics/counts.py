"""What the target passes of one kind add up to, since the process began."""

from __future__ import annotations

from collections import Counter
from typing import Self

import attrs

from specframe.config import AUTOREGRESSIVE, RunConfig
from specframe.contracts.report import StepStats


@attrs.frozen(slots=True)
class Labels:
    """What passes are told apart by; the fields are the names of the labels.

    Attributes:
        model_name: the target, under the label that vLLM has for it.
        strategy: the vocabulary strategy.
        drafter: what proposed tokens; ``none`` where nothing did.
    """

    model_name: str
    strategy: str
    drafter: str

    @classmethod
    def of(cls, config: RunConfig) -> Self:
        """Return the labels of an engine with this config."""
        return cls(
            config.model, config.strategy, "none" if config.strategy == AUTOREGRESSIVE else config.drafter
        )


@attrs.define(slots=True)
class Counts:
    """The sums.

    Attributes:
        passes: target passes.
        drafts: those over a draft.
        draft_tokens: drafted tokens, the nodes of a tree without its root.
        accepted: drafted tokens that were kept.
        accepted_at: those by their place in the path, from 0.
        emitted: tokens that the passes emitted.
        covered: those that were active when their step was drafted.
        oov_rejections: passes that ended at a token that was not active.
        drafter_misses: passes that ended at one that was.
        active_summed: active tokens, summed over the passes.
        active: active tokens at the last pass.
    """

    passes: int = 0
    drafts: int = 0
    draft_tokens: int = 0
    accepted: int = 0
    accepted_at: Counter[int] = attrs.field(factory=Counter)
    emitted: int = 0
    covered: int = 0
    oov_rejections: int = 0
    drafter_misses: int = 0
    active_summed: int = 0
    active: int = 0

    def add(self, stats: StepStats) -> None:
        """Add a target pass."""
        self.passes += 1
        self.drafts += stats.tree_nodes > 1
        self.draft_tokens += stats.tree_nodes - 1
        self.accepted += stats.accepted
        self.accepted_at.update(range(stats.accepted))
        self.emitted += len(stats.emitted_ids)
        self.covered += stats.covered
        self.oov_rejections += stats.rejection == "oov"
        self.drafter_misses += stats.rejection == "drafter_miss"
        self.active_summed += stats.active_size
        self.active = stats.active_size

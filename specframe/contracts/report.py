"""What is known of a generation: the statistics of every step, and the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, Literal, get_args

import attrs

from specframe.contracts.kinds import TargetHeadName, Warmth

VERSION = version("specframe")

Rejection = Literal["oov", "drafter_miss"]

# What a draft came from, where measured costs decide: the head over the active set or over the full
# vocabulary, the context alone, or nothing at all.
DraftKind = Literal["active", "full", "copied", "none"]


@attrs.frozen(slots=True)
class StepStats:
    """What one target pass did, for reports and observers.

    Attributes:
        step: index of the target pass in this generation, from 0.
        tree_nodes: N, the root included.
        emitted_ids: tokens emitted, cut at the end of the generation.
        accepted: accepted drafted tokens among them.
        active_size: K when the step was drafted.
        covered: emitted tokens that were in the active set when the step was drafted.
        rejection: why the path ended; None when it ended at a leaf of the tree.
        rows_fetched: LM-head rows fetched since the step before was drafted, or since the request began.
        draft: what the draft came from; None where no measured costs decide.
    """

    step: int
    tree_nodes: int
    emitted_ids: tuple[int, ...]
    accepted: int
    active_size: int
    covered: int
    rejection: Rejection | None
    rows_fetched: int
    draft: DraftKind | None = None


@attrs.frozen(slots=True)
class PassesPerDraft:
    """How many target passes of a generation had each kind of draft."""

    active: int
    full: int
    copied: int
    none: int

    @classmethod
    def of(cls, steps: Iterable[StepStats]) -> PassesPerDraft | None:
        """Return the counts; None when no measured costs decided anything."""
        counts = Counter(step.draft for step in steps if step.draft is not None)
        return cls(**{kind: counts[kind] for kind in get_args(DraftKind)}) if counts else None


@attrs.frozen(slots=True)
class TokenLogprob:
    """The target's log-probability of an emitted token, before any processor or temperature.

    Attributes:
        logprob: of the token itself.
        top_ids: the most likely tokens there, the likeliest first; as many as were asked for.
        top_logprobs: their log-probabilities.
    """

    logprob: float
    top_ids: list[int]
    top_logprobs: list[float]


FinishReason = Literal["eos", "stop", "length"]


@attrs.frozen(slots=True, kw_only=True)
class GenerationReport:
    """One generation, with the keys of ``run --json`` and ``bench --json``.

    What may be None is not known where None stands: another library's decoding tells nothing of its steps.
    An engine knows all of it.

    Times are seconds, sizes tokens unless the name says bytes. ``draft_s`` is everything between the end of
    one target pass and the start of the next; its named parts are ``draft_backbone_s``, ``draft_head_s``,
    ``draft_tree_s``, ``vocabulary_s`` and ``statistics_s``, which is what recording the step costs; the
    verdict and the commit are the rest of it. ``generation_config`` is what the model's own set for this
    request: sampling parameters that nobody gave, logits processors, stop strings; None in older rows and
    those of peers. ``lossy`` says that the verifier changes the target's
    distribution. ``accept_by_depth[d]`` is the share of target passes that accepted a drafted token at
    depth d + 1. ``token_ids`` end with the token that ended the generation, ``text`` before it.
    ``warm`` says what a drafter could go on from that had learnt from the target before: earlier turns of the
    conversation, all requests, or nothing (off); None in older rows and those of peers.
    ``unknown_ids`` counts the distinct ids that the strategy asked for and the drafter's own, reduced LM
    head has no row for. ``kept_tokens`` are the prompt tokens that an earlier turn had left in the caches.
    ``drafts`` counts the target passes by what their draft came from, ``costs`` is the name of the measured
    costs that decided so (the same request has the same draft trees by the same costs), and ``cost_error`` is
    how far they were from what a step took, as a share of it, in the median; None where no costs decide.
    ``fallback`` says which component failed where the rest was generated without drafting; None where none
    did. ``target_head`` is what the target's first choices came from: all logits, or a screen with a proof;
    ``target_head_reason`` says in a few words why. None in older rows and those of peers. ``logprobs`` has
    one entry per token; None where they were not asked for.
    """

    id: str
    task: str
    strategy: str
    drafter: str | None
    verifier: str | None
    gather: str | None
    model: str
    dtype: str
    device: str
    seed: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    generation_config: Mapping[str, Any] | None = None
    lossy: bool = False
    warm: Warmth | None = None
    prompt_tokens: int
    kept_tokens: int
    token_ids: list[int]
    text: str
    finish_reason: FinishReason
    new_tokens: int
    target_passes: int
    tau: float
    wall_s: float
    prefill_s: float | None = None
    draft_s: float | None = None
    draft_backbone_s: float | None = None
    draft_head_s: float | None = None
    draft_tree_s: float | None = None
    vocabulary_s: float | None = None
    statistics_s: float | None = None
    verify_s: float | None = None
    active_mean: float | None = None
    active_max: int | None = None
    coverage: float | None = None
    unknown_ids: int | None = None
    oov_rejections: int | None = None
    drafter_misses: int | None = None
    accept_by_depth: list[float] | None = None
    drafts: PassesPerDraft | None = None
    costs: str | None = None
    cost_error: float | None = None
    fallback: str | None = None
    target_head: TargetHeadName | None = None
    target_head_reason: str | None = None
    logprobs: list[TokenLogprob] | None = None
    peak_rss_bytes: int
    specframe_version: str

    @property
    def tokens_per_s(self) -> float:
        """New tokens per second of wall time, prefill included."""
        return self.new_tokens / self.wall_s if self.wall_s else 0.0

    @property
    def draft_rest_s(self) -> float | None:
        """The part of the draft time that has no name: verdict, commit, statistics."""
        if self.draft_s is None:
            return None
        parts = (self.draft_backbone_s, self.draft_head_s, self.draft_tree_s, self.vocabulary_s)
        return self.draft_s - sum(part or 0.0 for part in parts)

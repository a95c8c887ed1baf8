"""Collects the statistics of one generation and sums them up in a report."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import attrs
import torch
from torch import Tensor

from specframe.config import AUTOREGRESSIVE, RunConfig
from specframe.contracts.clock import Phase, PhaseClock
from specframe.contracts.drafted_pass import DraftedNode, DraftedPass
from specframe.contracts.kinds import TargetHeadName
from specframe.contracts.report import (
    VERSION,
    DraftKind,
    GenerationReport,
    PassesPerDraft,
    Rejection,
    StepStats,
    TokenLogprob,
)
from specframe.contracts.sampling import SamplingParams
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.drafting.protocol import Drafting, Figures
from specframe.request.output import Output
from specframe.request.request import Request

_DRAFT_PHASES: tuple[Phase, ...] = (
    "draft_backbone",
    "draft_head",
    "draft_tree",
    "vocabulary",
    "statistics",
    "other",
)


@attrs.frozen(slots=True, eq=False)
class _Pass:
    """One target pass; ``covered`` [n] bool and the two sizes [] int64 are still on the device."""

    tree_nodes: int
    verdict: Verdict
    emitted: tuple[int, ...]
    covered: Tensor
    active_size: Tensor
    rows_fetched: Tensor
    draft: DraftKind | None


class GenerationRecorder:
    """Statistics of one generation; what is on the device stays there until somebody asks.

    Attributes:
        kept_tokens: prompt tokens that an earlier turn had left in the caches.
        fallback: what failed, where the rest is generated without drafting.
    """

    def __init__(self) -> None:
        self.kept_tokens = 0
        self.fallback: str | None = None
        self._passes: list[_Pass] = []

    def record(self, tree: DraftTree, verdict: Verdict, emitted: tuple[int, ...], figures: Figures) -> None:
        """Add one target pass; nothing is read from the device.

        Args:
            tree: the verified tree.
            verdict: what the verifier decided.
            emitted: the emitted ids, cut at the end of the generation.
            figures: as they were when the step was drafted.
        """
        covered = figures.covered(verdict.emitted_ids)
        size, fetched = figures.active_size, figures.rows_fetched
        self._passes.append(_Pass(len(tree), verdict, emitted, covered, size, fetched, figures.draft))

    def last_step(self) -> StepStats:
        """Return the statistics of the last target pass; a few host reads."""
        last = self._passes[-1]
        fetched = int(last.rows_fetched)
        before = int(self._passes[-2].rows_fetched) if len(self._passes) > 1 else 0
        step = len(self._passes) - 1
        return _stats(step, last, last.covered.tolist(), int(last.active_size), fetched - before)

    def steps(self) -> list[StepStats]:
        """Return the statistics of all target passes; three host reads together."""
        passes = self._passes
        if not passes:
            return []
        sizes = _read([one.active_size for one in passes])
        fetched = _read([one.rows_fetched for one in passes])
        per_step = [max(after - before, 0) for before, after in zip([0, *fetched], fetched, strict=False)]
        covered = iter(torch.cat([one.covered for one in passes]).tolist())
        return [
            _stats(step, one, list(islice(covered, len(one.covered))), size, rows)
            for step, (one, size, rows) in enumerate(zip(passes, sizes, per_step, strict=True))
        ]

    def report(
        self,
        config: RunConfig,
        clock: PhaseClock,
        request: Request,
        output: Output,
        *,
        model: str,
        prompt_tokens: int,
        drafting: Drafting,
        sampling: SamplingParams,
        generation_config: Mapping[str, Any],
        logprobs: list[TokenLogprob] | None = None,
        head: tuple[TargetHeadName, str] = ("full", "the default"),
        lossy: bool = False,
    ) -> GenerationReport:
        """Return the report of a finished generation; a few host reads."""
        assert output.finish_reason is not None
        steps, seconds = self.steps(), clock.seconds
        passes = len(steps)
        from_passes = sum(len(step.emitted_ids) for step in steps)
        drafts = config.strategy != AUTOREGRESSIVE
        return GenerationReport(
            id=request.id,
            task=request.task,
            strategy=config.strategy,
            drafter=config.drafter if drafts else None,
            verifier=config.verifier,
            gather=config.gather if drafts else None,
            model=model,
            dtype=config.dtype,
            device=config.device,
            **sampling.values(),
            generation_config=dict(generation_config),
            lossy=lossy,
            warm=config.warm,
            prompt_tokens=prompt_tokens,
            kept_tokens=self.kept_tokens,
            token_ids=output.token_ids,
            text=output.text,
            finish_reason=output.finish_reason,
            new_tokens=len(output.token_ids),
            target_passes=passes,
            tau=from_passes / passes if passes else 0.0,
            wall_s=sum(spent for phase, spent in seconds.items() if phase != "consumer"),
            prefill_s=seconds.get("prefill", 0.0),
            draft_s=sum(seconds.get(phase, 0.0) for phase in _DRAFT_PHASES),
            draft_backbone_s=seconds.get("draft_backbone", 0.0),
            draft_head_s=seconds.get("draft_head", 0.0),
            draft_tree_s=seconds.get("draft_tree", 0.0),
            vocabulary_s=seconds.get("vocabulary", 0.0),
            statistics_s=seconds.get("statistics", 0.0),
            verify_s=seconds.get("target_pass", 0.0),
            active_mean=sum(step.active_size for step in steps) / passes if passes else 0.0,
            active_max=max((step.active_size for step in steps), default=0),
            coverage=sum(step.covered for step in steps) / from_passes if from_passes else 0.0,
            unknown_ids=drafting.figures.unknown_ids,
            oov_rejections=sum(step.rejection == "oov" for step in steps),
            drafter_misses=sum(step.rejection == "drafter_miss" for step in steps),
            accept_by_depth=[
                sum(step.accepted >= depth for step in steps) / passes if passes else 0.0
                for depth in range(1, drafting.demands.max_depth + 1)
            ],
            drafts=PassesPerDraft.of(steps),
            costs=drafting.figures.costs,
            cost_error=drafting.figures.cost_error,
            fallback=self.fallback,
            target_head=head[0],
            target_head_reason=head[1],
            logprobs=logprobs,
            peak_rss_bytes=peak_rss_bytes(),
            specframe_version=VERSION,
        )


def drafted_pass(
    tree: DraftTree, verdict: Verdict, emitted: tuple[int, ...], figures: Figures
) -> DraftedPass:
    """Return a target pass for people to look at; a few host reads, and one for each node of a level.

    Args:
        tree: the verified tree.
        verdict: what the verifier decided.
        emitted: the emitted ids, cut at the end of the generation.
        figures: as they were when the step was drafted.
    """
    token_ids, parents, depths = torch.stack([tree.token_ids, tree.parents, tree.depths]).tolist()
    real = [node for node, parent in enumerate(parents) if node == 0 or parent >= 0]
    place = {node: at for at, node in enumerate(real)}
    active = _active([(depths[node], token_ids[node]) for node in real], figures)
    sources, log_probs = tree.sources or (None,) * len(tree), tree.log_probs.tolist()
    nodes = [
        DraftedNode(
            token_id=token_ids[node],
            parent=place.get(parents[node], -1),
            depth=depths[node],
            probability=math.exp(min(log_probs[node], 0.0)),
            source=sources[node],
            active=is_active,
        )
        for node, is_active in zip(real, active, strict=True)
    ]
    next_active = bool(figures.covered(verdict.emitted_ids)[-1])
    return DraftedPass(
        nodes=nodes,
        path=tuple(place[node] for node in verdict.path),
        emitted_ids=emitted,
        next_token=verdict.next_token,
        next_active=next_active,
        rejection=_rejection(verdict, next_active=next_active),
        active_size=int(figures.active_size),
        draft=figures.draft,
    )


def _active(nodes: Sequence[tuple[int, int]], figures: Figures) -> list[bool]:
    """Return for nodes of given depths and tokens whether each was active at its level.

    Which tokens count may differ from level to level, so one node of every level is asked for at a time.
    """
    levels: dict[int, list[int]] = {}
    found: list[tuple[int, int]] = []
    for depth, token_id in nodes:
        level = levels.setdefault(depth, [])
        found.append((depth, len(level)))
        level.append(token_id)
    below = [levels[depth] for depth in range(1, len(levels))]
    asked = [
        figures.covered(tuple(level[min(at, len(level) - 1)] for level in below)).tolist()
        for at in range(max(map(len, below), default=0))
    ]
    return [depth == 0 or asked[at][depth - 1] for depth, at in found]


def _read(numbers: list[Tensor]) -> list[int]:
    """Return scalars as numbers, in one host read."""
    device = numbers[0].device
    values: list[int] = torch.stack([one.to(device, non_blocking=True) for one in numbers]).tolist()
    return values


def _stats(step: int, one: _Pass, covered: list[bool], active_size: int, rows_fetched: int) -> StepStats:
    """Return the statistics of a target pass, given what was read from the device."""
    return StepStats(
        step=step,
        tree_nodes=one.tree_nodes,
        emitted_ids=one.emitted,
        accepted=min(len(one.verdict.accepted_ids), len(one.emitted)),
        active_size=active_size,
        covered=sum(covered[: len(one.emitted)]),
        rejection=_rejection(one.verdict, next_active=covered[-1]),
        rows_fetched=rows_fetched,
        draft=one.draft,
    )


def _rejection(verdict: Verdict, *, next_active: bool) -> Rejection | None:
    """Return why the path ended, given whether the next token was active; None at a leaf of the tree."""
    if verdict.path_ends_at_leaf:
        return None
    return "drafter_miss" if next_active else "oov"


def peak_rss_bytes() -> int:
    """Return the peak resident set size of this process; Linux counts it in KiB, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

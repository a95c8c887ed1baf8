"""A generation's report: rows for people, a JSON object for programs."""

from __future__ import annotations

import json

import attrs

from specframe.config import AUTOREGRESSIVE
from specframe.contracts.report import GenerationReport, PassesPerDraft


def to_json(report: GenerationReport) -> str:
    """Return the report as one line of JSON, with the keys of ``GenerationReport`` in their order."""
    return json.dumps(attrs.asdict(report))


def to_rows(report: GenerationReport, vocab_size: int) -> list[tuple[str, str]]:
    """Return the report as pairs of what and how much.

    Args:
        report: of one generation.
        vocab_size: V of the target.
    """
    drafted = report.strategy != AUTOREGRESSIVE
    verifier = f"{report.verifier} (lossy)" if report.lossy else report.verifier
    chosen = [report.drafter, verifier, report.gather] if drafted else [verifier]
    kept = f", {report.kept_tokens:,} of them kept" if report.kept_tokens else ""
    head = ""
    if report.target_head not in (None, "full"):
        head = f", LM head by {report.target_head} ({report.target_head_reason})"
    rows = [
        ("strategy", " + ".join([report.strategy, *filter(None, chosen)])),
        ("target", f"{report.model}, {report.dtype} on {report.device}{head}"),
        (
            "new tokens",
            f"{report.new_tokens:,} after {report.prompt_tokens:,} prompt tokens{kept} "
            f"({report.finish_reason})",
        ),
        *_sampling_rows(report),
        ("speed", f"{report.tokens_per_s:.1f} tokens/s"),
        ("tau", f"{report.tau:.2f} tokens per target pass, {report.target_passes:,} target passes"),
    ]
    if drafted:
        rows += [
            (
                "active vocabulary",
                f"mean {report.active_mean:,.0f}, max {report.active_max:,} of {vocab_size:,} tokens",
            ),
            ("coverage", f"{report.coverage:.1%} of the emitted tokens"),
            *_unknown_row(report),
            (
                "rejections",
                f"{report.oov_rejections:,} OOV, {report.drafter_misses:,} drafter misses",
            ),
        ]
    if report.drafts is not None:
        rows.append(("drafts", _passes_per_draft(report.drafts)))
    if report.fallback is not None:
        rows.append(("fallback", f"went on without drafting: {report.fallback}"))
    return rows + _time_rows(report, drafted)


def _unknown_row(report: GenerationReport) -> list[tuple[str, str]]:
    """Return what a reduced LM head left out; nothing where it left out nothing."""
    if not report.unknown_ids:
        return []
    return [
        (
            "not in the head",
            f"{report.unknown_ids:,} ids of the strategy have no row in the drafter's LM head",
        )
    ]


def _passes_per_draft(passes: PassesPerDraft) -> str:
    """Return the share of the target passes that had each kind of draft."""
    names = {
        "active": "over the active set",
        "full": "over the full vocabulary",
        "copied": "from the context alone",
        "none": "without a draft",
    }
    counts: dict[str, int] = attrs.asdict(passes)
    total = sum(counts.values())
    shares = [f"{count / total:.0%} {names[kind]}" for kind, count in counts.items() if count]
    return f"{', '.join(shares)}, of the target passes"


def _sampling_rows(report: GenerationReport) -> list[tuple[str, str]]:
    """Return how the target's distribution was changed and sampled; nothing for plain greedy decoding."""
    pairs = {
        "top_k": (report.top_k, 0),
        "top_p": (report.top_p, 1.0),
        "min_p": (report.min_p, 0.0),
        "repetition_penalty": (report.repetition_penalty, 1.0),
    }
    chosen = {name: value for name, (value, neutral) in pairs.items() if value != neutral}
    if report.temperature:
        chosen = {"temperature": report.temperature, **chosen, "seed": report.seed}
    return [("sampling", ", ".join(f"{name} {value:g}" for name, value in chosen.items()))] if chosen else []


def _time_rows(report: GenerationReport, drafted: bool) -> list[tuple[str, str]]:
    """Return the time split: prefill, draft with its parts, target passes."""
    rows = [("time", report.wall_s), ("  prefill", report.prefill_s), ("  target passes", report.verify_s)]
    if drafted:
        rows += [
            ("  draft", report.draft_s),
            ("    drafter backbone", report.draft_backbone_s),
            ("    head", report.draft_head_s),
            ("    tree", report.draft_tree_s),
            ("    vocabulary + gather", report.vocabulary_s),
            ("    verdict and rest", report.draft_rest_s),
        ]
    else:
        rows.append(("  between passes", report.draft_s))
    total = report.wall_s or 1.0
    return [(name, f"{spent:7.3f} s  {spent / total:6.1%}") for name, spent in rows if spent is not None]

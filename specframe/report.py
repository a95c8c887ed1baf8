"""A generation's report: rows for people, a JSON object for programs."""

from __future__ import annotations

import json

import attrs

from specframe.config import AUTOREGRESSIVE
from specframe.types import GenerationReport


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
    chosen = [report.drafter, report.verifier, report.gather] if drafted else [report.verifier]
    rows = [
        ("strategy", " + ".join([report.strategy, *filter(None, chosen)])),
        ("target", f"{report.model}, {report.dtype} on {report.device}"),
        (
            "new tokens",
            f"{report.new_tokens:,} after {report.prompt_tokens:,} prompt tokens ({report.finish_reason})",
        ),
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
            (
                "rejections",
                f"{report.oov_rejections:,} OOV, {report.drafter_misses:,} drafter misses",
            ),
        ]
    return rows + _time_rows(report, drafted)


def _time_rows(report: GenerationReport, drafted: bool) -> list[tuple[str, str]]:
    """Return the time split: prefill, draft with its parts, target passes."""
    parts = {
        "drafter backbone": report.draft_backbone_s,
        "head": report.draft_head_s,
        "tree": report.draft_tree_s,
        "vocabulary + gather": report.vocabulary_s,
    }
    rows = [("time", report.wall_s), ("  prefill", report.prefill_s), ("  target passes", report.verify_s)]
    if drafted:
        parts["verdict and rest"] = report.draft_s - sum(parts.values())
        rows += [("  draft", report.draft_s), *((f"    {name}", spent) for name, spent in parts.items())]
    else:
        rows.append(("  between passes", report.draft_s))
    total = report.wall_s or 1.0
    return [(name, f"{spent:7.3f} s  {spent / total:6.1%}") for name, spent in rows]

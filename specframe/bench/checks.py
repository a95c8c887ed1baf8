"""Checks of what a strategy claims: its active set is what is read, and a request leaves nothing behind."""

from __future__ import annotations

from typing import Literal

import attrs
from torch import Tensor

from specframe.bench.audit import head_reads
from specframe.bench.rows import BenchRow, Steps
from specframe.engine.engine import Engine

Check = Literal["head reads", "rows fetched", "isolation", "lossless"]

# Tokens of the two generations that are only made for a check.
AUDITED_TOKENS = 8
REPEATED_TOKENS = 32


@attrs.frozen(slots=True)
class CheckResult:
    """What one check says about one configuration.

    Attributes:
        configuration: its label.
        check: which check.
        passed: None when it could not be made.
        message: the facts, one line.
    """

    configuration: str
    check: Check
    passed: bool | None
    message: str


def check_head_reads(label: str, engine: Engine, prompt_ids: Tensor) -> CheckResult | None:
    """Generate a few tokens; compare the reads of the LM head with the active set.

    None where no LM head drafts.
    """
    drafter = engine.drafting.drafter
    if drafter is None or drafter.output_head is None:
        return None
    try:
        reads = head_reads(engine, drafter.output_head, prompt_ids, AUDITED_TOKENS)
    except Exception as error:  # a backend may do what cannot be watched; that is no reason to stop
        line = " ".join(f"{type(error).__name__}: {error}".split())
        return CheckResult(label, "head reads", None, f"cannot be watched: {line}")
    sizes = [step.active_size for step in engine.steps]
    # The drafter looks its own tokens up in an embedding that is as large as the head, or is the head itself.
    looked_up = 2 * drafter.max_nodes
    for read in reads:
        # What is read after the last target pass prepares a step that never came.
        if read.step < len(sizes) and read.rows > max(sizes[read.step], looked_up):
            return CheckResult(
                label,
                "head reads",
                False,
                f"claims {sizes[read.step]:,} active tokens at step {read.step}, but one operation reads "
                f"{read.rows:,} rows of the LM head while drafting ({read.phase.replace('_', ' ')})",
            )
    return CheckResult(label, "head reads", True, "no operation reads more rows than are active")


def check_rows_fetched(label: str, rows: list[BenchRow]) -> CheckResult | None:
    """Compare the fetched rows with the active sizes; None when no step is known."""
    for row in rows:
        if row.steps is None:
            return None
        for step, (fetched, active) in enumerate(
            zip(row.steps.rows_fetched, row.steps.active_size, strict=True)
        ):
            if fetched > active:
                return CheckResult(
                    label,
                    "rows fetched",
                    False,
                    f"fetches {fetched:,} rows of the LM head for {active:,} active tokens "
                    f"(prompt {row.report.id}, step {step})",
                )
    return CheckResult(label, "rows fetched", True, "never more rows than are active")


def check_isolation(label: str, first: BenchRow, again: Steps, costs: str | None) -> CheckResult:
    """Compare the first prompt's steps with those when it is asked again after all others.

    Args:
        label: of the configuration.
        first: the row of the first prompt.
        again: its steps when repeated, possibly fewer.
        costs: name of the costs that decided then.
    """
    assert first.steps is not None
    if first.report.warm == "shared":
        return CheckResult(
            label, "isolation", None, "a warm drafter goes on from earlier prompts, as asked for"
        )
    if first.report.costs != costs:
        return CheckResult(
            label, "isolation", None, "the costs were measured anew in between, so drafts may differ"
        )
    pairs = zip(_profile(first.steps), _profile(again), strict=False)
    for step, (before, after) in enumerate(pairs):
        if before != after:
            return CheckResult(
                label,
                "isolation",
                False,
                f"prompt {first.report.id} asked again at the end has {_told(after)} at step {step}, and the "
                f"first time {_told(before)}: something of earlier requests is left",
            )
    return CheckResult(
        label, "isolation", True, f"prompt {first.report.id} gives the same steps again at the end"
    )


def check_lossless(label: str, rows: list[BenchRow]) -> CheckResult | None:
    """Sum up the losslessness of a configuration's rows; None when nothing was checked."""
    judged = [(row, row.lossless) for row in rows if row.lossless is not None]
    failed = [(row, lossless) for row, lossless in judged if not lossless.passed]
    if failed:
        row, lossless = failed[0]
        where = "" if lossless.divergence is None else f", first divergence at token {lossless.divergence}"
        more = f"; {len(failed) - 1} more prompts" if len(failed) > 1 else ""
        if lossless.largest_margin <= lossless.tolerance:
            what = "the text ends where the target would not end it"
        else:
            what = (
                f"a token is {lossless.largest_margin:.3g} below the target's maximum "
                f"(tolerance {lossless.tolerance:g})"
            )
        return CheckResult(label, "lossless", False, f"prompt {row.report.id}: {what}{where}{more}")
    return CheckResult(label, "lossless", True, "every token is the target's") if judged else None


def _told(profile: tuple[int, int, int]) -> str:
    active, nodes, fetched = profile
    return f"{active:,} active tokens, {nodes} tree nodes, {fetched:,} rows fetched"


def _profile(steps: Steps) -> list[tuple[int, int, int]]:
    return list(zip(steps.active_size, steps.tree_nodes, steps.rows_fetched, strict=True))

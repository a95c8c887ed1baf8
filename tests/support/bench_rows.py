"""Rows of a benchmark, made up: one of our own, one of a peer that knows nothing of its steps."""

from __future__ import annotations

from typing import Any

import attrs

from specframe.bench.rows import BenchRow, Losslessness, Steps
from specframe.contracts.report import GenerationReport

_STEPS = Steps(
    active_size=[40, 46],
    tree_nodes=[8, 8],
    emitted=[2, 1],
    accepted=[1, 0],
    covered=[2, 0],
    rejection=[None, "oov"],
    rows_fetched=[33, 6],
)
_LOSSLESS = Losslessness(
    equal=False,
    divergence=2,
    margin=0.125,
    baseline_margin=0.0,
    largest_margin=0.125,
    not_maximum=1,
    tolerance=0.5,
    passed=True,
)
_REPORT = GenerationReport(
    id="harbour",
    task="qa",
    strategy="nanospec",
    drafter="eagle",
    verifier="greedy",
    gather="torch",
    model="smollm2-135m",
    dtype="bfloat16",
    device="cpu",
    seed=0,
    prompt_tokens=20,
    kept_tokens=0,
    token_ids=[5, 6, 7, 8],
    text="one two three",
    finish_reason="length",
    new_tokens=4,
    target_passes=2,
    tau=1.5,
    wall_s=0.5,
    prefill_s=0.1,
    draft_s=0.1,
    draft_backbone_s=0.05,
    draft_head_s=0.02,
    draft_tree_s=0.01,
    vocabulary_s=0.01,
    statistics_s=0.001,
    verify_s=0.3,
    active_mean=43.0,
    active_max=46,
    coverage=2 / 3,
    oov_rejections=1,
    drafter_misses=0,
    unknown_ids=0,
    accept_by_depth=[0.5, 0.0],
    peak_rss_bytes=1_000_000,
    specframe_version="0.1.0",
)
_ROW = BenchRow(
    report=_REPORT,
    category="qa",
    configuration="nanospec:capacity=1024",
    order=2,
    packed_bytes=1024 * 576 * 2,
    store_bytes=400_000,
    head_bytes=49152 * 576 * 2,
    steps=_STEPS,
    lossless=_LOSSLESS,
)
# What is not known unless it is told, and the names of what drafts.
_UNKNOWN_TO_A_PEER = [
    *("drafter", "verifier", "gather"),
    *(
        field.name
        for cls in (GenerationReport, BenchRow)
        for field in attrs.fields(cls)
        if field.default is None
    ),
]


def row(**changes: Any) -> BenchRow:
    return changed(_ROW, **changes)


def changed(row: BenchRow, **changes: Any) -> BenchRow:
    """A row with other values, of its report or beside it, by the keys that they have in a file."""
    of_report = {name: changes.pop(name) for name in attrs.fields_dict(GenerationReport) if name in changes}
    return attrs.evolve(row, report=attrs.evolve(row.report, **of_report), **changes)


def peer_row(**changes: Any) -> BenchRow:
    unknown = dict.fromkeys(_UNKNOWN_TO_A_PEER)
    return row(
        **{**unknown, "configuration": "hf-greedy", "strategy": "hf-greedy", "lossless": _LOSSLESS, **changes}
    )

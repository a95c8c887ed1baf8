"""Rows of a benchmark, made up: one of our own, one of a peer that knows nothing of its steps."""

from __future__ import annotations

from typing import Any

import attrs

from specframe.bench.rows import BenchRow, Losslessness, Steps

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
_ROW = BenchRow(
    id="harbour",
    task="qa",
    category="qa",
    configuration="nanospec:capacity=1024",
    order=2,
    strategy="nanospec",
    drafter="eagle",
    verifier="greedy",
    gather="torch",
    model="smollm2-135m",
    dtype="bfloat16",
    device="cpu",
    seed=0,
    temperature=0.0,
    top_p=1.0,
    top_k=0,
    min_p=0.0,
    repetition_penalty=1.0,
    lossy=False,
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
    controller=None,
    fallback=None,
    peak_rss_bytes=1_000_000,
    specframe_version="0.1.0",
    packed_bytes=1024 * 576 * 2,
    store_bytes=400_000,
    head_bytes=49152 * 576 * 2,
    steps=_STEPS,
    lossless=_LOSSLESS,
)
_UNKNOWN_TO_A_PEER = [
    "drafter",
    "verifier",
    "gather",
    "prefill_s",
    "draft_s",
    "draft_backbone_s",
    "draft_head_s",
    "draft_tree_s",
    "vocabulary_s",
    "statistics_s",
    "verify_s",
    "active_mean",
    "active_max",
    "coverage",
    "oov_rejections",
    "drafter_misses",
    "unknown_ids",
    "accept_by_depth",
    "controller",
    "packed_bytes",
    "store_bytes",
    "head_bytes",
    "steps",
]


def row(**changes: Any) -> BenchRow:
    return attrs.evolve(_ROW, **changes)


def peer_row(**changes: Any) -> BenchRow:
    unknown = dict.fromkeys(_UNKNOWN_TO_A_PEER)
    return row(configuration="hf-greedy", strategy="hf-greedy", **{**unknown, **changes})

"""Rows that the version before measured costs wrote: they load, and what they say is written again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specframe.bench.rows import read_rows, to_line

AUTOREGRESSIVE = (
    '{"id": "code/running-median", "task": "code", "category": "code", "configuration": "autoregressive", '
    '"order": 0, "strategy": "autoregressive", "drafter": null, "verifier": "greedy", "gather": null, '
    '"model": "smollm2-135m", "dtype": "float32", "device": "cpu", "seed": 0, "temperature": 0.0, "top_p": '
    '1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "lossy": false, "prompt_tokens": 104, '
    '"kept_tokens": 0, "token_ids": [3725, 5367, 198, 1604, 4108, 79, 33102, 24, 6347, 42, 1398, 75, 6205, '
    '1750, 5700, 42, 464, 25, 4722, 1398, 75, 6205, 7036, 472], "text": "```python\\ndef '
    'running_median(values: list[float], window: int) -> list[float]:\\n   ", "finish_reason": "length", '
    '"new_tokens": 24, "target_passes": 23, "tau": 1.0, "wall_s": 0.8894302920002701, "prefill_s": '
    '0.1324284219999754, "draft_s": 0.010688535999861415, "draft_backbone_s": 0.0, "draft_head_s": 0.0, '
    '"draft_tree_s": 0.0, "vocabulary_s": 3.556299998308532e-05, "statistics_s": 0.0009589019998657022, '
    '"verify_s": 0.7463133340004333, "active_mean": 0.0, "active_max": 0, "coverage": 0.0, '
    '"oov_rejections": 0, "drafter_misses": 0, "unknown_ids": 0, "accept_by_depth": [], "controller": '
    'null, "fallback": null, "peak_rss_bytes": 1830318080, "specframe_version": "0.1.0", "packed_bytes": '
    'null, "store_bytes": null, "head_bytes": null, "steps": {"active_size": [0, 0, 0, 0, 0, 0, 0, 0, 0, '
    '0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "tree_nodes": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, '
    '1, 1, 1, 1, 1, 1, 1, 1, 1], "emitted": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, '
    '1, 1, 1], "accepted": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], '
    '"covered": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "rejection": [null, '
    "null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, "
    'null, null, null, null, null], "rows_fetched": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '
    '0, 0, 0, 0, 0]}, "lossless": {"equal": null, "divergence": null, "margin": null, "baseline_margin": '
    'null, "largest_margin": 0.0, "not_maximum": 0, "tolerance": 0.001, "passed": true}}'
)
NANOSPEC = (
    '{"id": "code/running-median", "task": "code", "category": "code", "configuration": "nanospec", '
    '"order": 2, "strategy": "nanospec", "drafter": "eagle", "verifier": "greedy", "gather": "torch", '
    '"model": "smollm2-135m", "dtype": "float32", "device": "cpu", "seed": 0, "temperature": 0.0, "top_p": '
    '1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "lossy": false, "prompt_tokens": 104, '
    '"kept_tokens": 0, "token_ids": [3725, 5367, 198, 1604, 4108, 79, 33102, 24, 6347, 42, 1398, 75, 6205, '
    '1750, 5700, 42, 464, 25, 4722, 1398, 75, 6205, 7036, 472], "text": "```python\\ndef '
    'running_median(values: list[float], window: int) -> list[float]:\\n   ", "finish_reason": "length", '
    '"new_tokens": 24, "target_passes": 3, "tau": 7.666666666666667, "wall_s": 0.2918534439999121, '
    '"prefill_s": 0.1440524719999985, "draft_s": 0.015433320999818534, "draft_backbone_s": '
    '0.009534714999858807, "draft_head_s": 0.001062846000081663, "draft_tree_s": 0.0009836149998818655, '
    '"vocabulary_s": 0.001823283000135234, "statistics_s": 0.00027565300001697324, "verify_s": '
    '0.13236765100009507, "active_mean": 563.0, "active_max": 571, "coverage": 1.0, "oov_rejections": 0, '
    '"drafter_misses": 0, "unknown_ids": 0, "accept_by_depth": [1.0, 1.0, 1.0, 1.0, 0.6666666666666666, '
    "0.6666666666666666, 0.6666666666666666, 0.3333333333333333, 0.3333333333333333, 0.0, 0.0, 0.0, 0.0, "
    "0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], "
    '"controller": null, "fallback": null, "peak_rss_bytes": 1830973440, "specframe_version": "0.1.0", '
    '"packed_bytes": 7077888, "store_bytes": 622592, "head_bytes": 226492416, "steps": {"active_size": '
    '[556, 562, 571], "tree_nodes": [8, 8, 10], "emitted": [5, 8, 10], "accepted": [4, 7, 9], "covered": '
    '[5, 8, 10], "rejection": [null, null, null], "rows_fetched": [42, 6, 9]}, "lossless": {"equal": true, '
    '"divergence": null, "margin": null, "baseline_margin": null, "largest_margin": 0.0, "not_maximum": 0, '
    '"tolerance": 0.001, "passed": true}}'
)
PEER = (
    '{"id": "harbour", "task": "qa", "category": "qa", "configuration": "hf-greedy", "order": 2, '
    '"strategy": "hf-greedy", "drafter": null, "verifier": null, "gather": null, "model": "smollm2-135m", '
    '"dtype": "bfloat16", "device": "cpu", "seed": 0, "temperature": 0.0, "top_p": 1.0, "top_k": 0, '
    '"min_p": 0.0, "repetition_penalty": 1.0, "lossy": false, "prompt_tokens": 20, "kept_tokens": 0, '
    '"token_ids": [5, 6, 7, 8], "text": "one two three", "finish_reason": "length", "new_tokens": 4, '
    '"target_passes": 2, "tau": 1.5, "wall_s": 0.5, "prefill_s": null, "draft_s": null, '
    '"draft_backbone_s": null, "draft_head_s": null, "draft_tree_s": null, "vocabulary_s": null, '
    '"statistics_s": null, "verify_s": null, "active_mean": null, "active_max": null, "coverage": null, '
    '"oov_rejections": null, "drafter_misses": null, "unknown_ids": null, "accept_by_depth": null, '
    '"controller": null, "fallback": null, "peak_rss_bytes": 1000000, "specframe_version": "0.1.0", '
    '"packed_bytes": null, "store_bytes": null, "head_bytes": null, "steps": null, "lossless": {"equal": '
    'false, "divergence": 2, "margin": 0.125, "baseline_margin": 0.0, "largest_margin": 0.125, '
    '"not_maximum": 1, "tolerance": 0.5, "passed": true}}'
)


@pytest.mark.parametrize(
    "line", [AUTOREGRESSIVE, NANOSPEC, PEER], ids=["autoregressive", "nanospec", "a peer"]
)
def test_all_that_an_old_row_says_is_written_again(line: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    (row,) = read_rows(path)
    old, new = json.loads(line), json.loads(to_line(row))
    assert {name: new[name] for name in old if name != "controller"} | {"controller": None} == old
    assert {value for name, value in new.items() if name not in old} == {None}
    assert [name for name in new if name in old] == [name for name in old if name in new]


def test_what_an_old_controller_chose_is_left_out(tmp_path: Path) -> None:
    path, chosen = tmp_path / "rows.jsonl", '{"pruned": 3, "grown": 0, "full": 0, "stopped": 0}'
    path.write_text(NANOSPEC.replace('"controller": null', f'"controller": {chosen}'), encoding="utf-8")
    (row,) = read_rows(path)
    assert "controller" not in json.loads(to_line(row))


def test_an_old_row_means_what_it_meant(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{NANOSPEC}\n{PEER}\n", encoding="utf-8")
    ours, peer = read_rows(path)
    assert (ours.configuration, ours.report.drafter, ours.report.target_passes) == ("nanospec", "eagle", 3)
    assert ours.steps is not None
    assert sum(ours.steps.emitted) == ours.report.new_tokens - 1
    assert (peer.report.drafter, peer.report.draft_s, peer.steps, peer.packed_bytes) == (
        None,
        None,
        None,
        None,
    )

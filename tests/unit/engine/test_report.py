"""The report says the same in a table and in JSON, whose keys are a promise."""

from __future__ import annotations

import json

import attrs
import pytest

from specframe.contracts.report import GenerationReport, PassesPerDraft
from specframe.engine.report import to_json, to_rows
from specframe.ops.tables import plain_table, print_table

KEYS = [
    "id",
    "task",
    "strategy",
    "drafter",
    "verifier",
    "gather",
    "model",
    "dtype",
    "device",
    "seed",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "generation_config",
    "lossy",
    "warm",
    "prompt_tokens",
    "kept_tokens",
    "token_ids",
    "text",
    "finish_reason",
    "new_tokens",
    "target_passes",
    "tau",
    "wall_s",
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
    "unknown_ids",
    "oov_rejections",
    "drafter_misses",
    "accept_by_depth",
    "drafts",
    "costs",
    "cost_error",
    "fallback",
    "target_head",
    "target_head_reason",
    "logprobs",
    "peak_rss_bytes",
    "specframe_version",
]

REPORT = GenerationReport(
    id="",
    task="",
    strategy="nanospec",
    drafter="eagle",
    verifier="greedy",
    gather="torch",
    model="smollm2-135m",
    dtype="bfloat16",
    device="cpu",
    seed=0,
    prompt_tokens=1200,
    kept_tokens=0,
    token_ids=[5, 6],
    text="é ☃",
    finish_reason="length",
    new_tokens=100,
    target_passes=40,
    tau=2.475,
    wall_s=4.0,
    prefill_s=0.5,
    draft_s=1.5,
    draft_backbone_s=0.8,
    draft_head_s=0.2,
    draft_tree_s=0.1,
    vocabulary_s=0.1,
    statistics_s=0.01,
    verify_s=2.0,
    active_mean=312.4,
    active_max=1377,
    coverage=0.875,
    oov_rejections=12,
    drafter_misses=25,
    accept_by_depth=[0.9, 0.5],
    fallback=None,
    peak_rss_bytes=10**9,
    specframe_version="0.1.0",
)
AUTOREGRESSIVE = attrs.evolve(REPORT, strategy="autoregressive", drafter=None, gather=None)


def rows(report: GenerationReport = REPORT) -> dict[str, str]:
    return {name.strip(): value for name, value in to_rows(report, vocab_size=49152)}


def test_the_json_has_the_promised_keys_in_their_order() -> None:
    assert list(json.loads(to_json(REPORT))) == KEYS


def test_the_json_is_one_line_of_the_same_values() -> None:
    assert json.loads(to_json(REPORT)) == attrs.asdict(REPORT)
    assert "\n" not in to_json(REPORT)


def test_a_lossy_verifier_is_called_so() -> None:
    assert rows(attrs.evolve(REPORT, verifier="loose", lossy=True))["strategy"].count("loose (lossy)") == 1


def test_plain_greedy_decoding_needs_no_row_about_sampling() -> None:
    assert "sampling" not in rows()


def test_the_table_says_how_it_was_sampled() -> None:
    report = attrs.evolve(REPORT, temperature=0.7, top_p=0.9, repetition_penalty=1.1, seed=3)
    assert rows(report)["sampling"] == "temperature 0.7, top_p 0.9, repetition_penalty 1.1, seed 3"


def test_an_autoregressive_report_has_no_drafter() -> None:
    assert json.loads(to_json(AUTOREGRESSIVE))["drafter"] is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("strategy", "nanospec + eagle + greedy + torch"),
        ("new tokens", "100 after 1,200 prompt tokens (length)"),
        ("speed", "25.0 tokens/s"),
        ("tau", "2.48 tokens per target pass, 40 target passes"),
        ("active vocabulary", "mean 312, max 1,377 of 49,152 tokens"),
        ("coverage", "87.5% of the emitted tokens"),
        ("rejections", "12 OOV, 25 drafter misses"),
        ("target passes", "  2.000 s   50.0%"),
        ("draft", "  1.500 s   37.5%"),
    ],
)
def test_the_table_says(name: str, value: str) -> None:
    assert rows()[name] == value


def test_the_parts_of_the_draft_add_up_to_it() -> None:
    parts = ("drafter backbone", "head", "tree", "vocabulary + gather", "verdict and rest")
    assert sum(float(rows()[part].split(" s")[0]) for part in parts) == pytest.approx(REPORT.draft_s)


def test_the_table_says_what_a_turn_kept_and_what_failed() -> None:
    report = attrs.evolve(REPORT, kept_tokens=1100, fallback="drafter 'eagle' raised ValueError: no")
    assert rows(report)["new tokens"] == "100 after 1,200 prompt tokens, 1,100 of them kept (length)"
    assert rows(report)["fallback"] == "went on without drafting: drafter 'eagle' raised ValueError: no"
    assert "fallback" not in rows()


def test_the_table_says_what_was_drafted_where_costs_decided() -> None:
    chosen = attrs.evolve(REPORT, drafts=PassesPerDraft(active=28, full=2, copied=2, none=8))
    assert rows(chosen)["drafts"] == (
        "70% over the active set, 5% over the full vocabulary, 5% from the context alone, "
        "20% without a draft, of the target passes"
    )
    assert json.loads(to_json(chosen))["drafts"] == {"active": 28, "full": 2, "copied": 2, "none": 8}
    assert "drafts" not in rows()


def test_an_autoregressive_table_is_silent_about_drafting() -> None:
    assert not {"active vocabulary", "coverage", "rejections", "draft"} & rows(AUTOREGRESSIVE).keys()


def test_a_report_of_no_time_at_all_is_printed() -> None:
    assert rows(attrs.evolve(REPORT, wall_s=0.0))["speed"] == "0.0 tokens/s"


def test_plain_columns_are_aligned() -> None:
    assert plain_table([("a", "bc"), ("def", "g")], ("x", "y"), "Title") == "Title\nx    y\na    bc\ndef  g"


def test_without_a_terminal_a_table_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([("tau", "2.0")])
    assert capsys.readouterr().out == "tau  2.0\n"


def test_on_a_terminal_a_table_is_drawn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_table([("tau", "2.0")])
    assert "│" in capsys.readouterr().out


def test_brackets_in_a_cell_are_not_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_table([("[red]", "2.0")])
    assert "[red]" in capsys.readouterr().out


def test_ids_that_a_reduced_head_lacks_are_named_only_where_there_are_any() -> None:
    assert "not in the head" not in rows()
    lacking = rows(attrs.evolve(REPORT, unknown_ids=1204))
    assert lacking["not in the head"] == "1,204 ids of the strategy have no row in the drafter's LM head"

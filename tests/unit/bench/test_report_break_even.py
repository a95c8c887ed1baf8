from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_rows import DEPTH, HIDDEN_SIZE, PROFILES, VOCAB_SIZE, Profile, bench_rows, manifest

from specframe.bench.report.analysis import Analysis, analyse
from specframe.bench.report.break_even import StepCosts
from specframe.bench.report.estimates import THIS_MACHINE, estimate
from specframe.bench.report.traffic import DEVICES, MODELS, Device, Setting, target_pass_time

# 60 ms that pruning does not touch, a full head of 1 ms and 0.3 us per row, a packed head of 1.3 ms, 1 ms of
# vocabulary and gather.
COSTS = StepCosts(untouched=0.060, head_fixed=0.001, head_per_row=3e-7, packed_head=0.0013, vocabulary=0.001)

SECONDS = st.floats(0, 0.01)
COST = st.builds(StepCosts, st.floats(1e-4, 0.1), SECONDS, st.floats(1e-9, 1e-5), SECONDS, SECONDS)


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyse(bench_rows(6), manifest())


def test_steps_are_the_sums_of_their_costs() -> None:
    assert COSTS.full(50_000) == pytest.approx(0.060 + 0.001 + 0.015)
    assert COSTS.pruned == pytest.approx(0.060 + 0.0013 + 0.001)
    assert COSTS.head_share(50_000) == pytest.approx(0.016 / 0.076)


def test_the_vocabulary_from_which_pruning_pays() -> None:
    # Keeping 90 % of tau, a full step must take 62.3 / 0.9 = 69.2 ms: 8.2 ms of head rows at 0.3 us.
    assert COSTS.least_vocabulary(0.9) == pytest.approx(27_407, abs=1)


@given(COST, st.floats(0.5, 1.0))
def test_at_each_threshold_pruned_and_full_are_equally_fast(costs: StepCosts, retention: float) -> None:
    vocab_size = costs.least_vocabulary(retention)
    assert costs.ratio(vocab_size, retention) == pytest.approx(1.0)
    assert costs.least_retention(vocab_size) == pytest.approx(retention)
    assert costs.least_head_share(retention) == pytest.approx(costs.head_share(vocab_size), abs=1e-6)


def test_the_formula_predicts_what_was_measured(analysis: Analysis) -> None:
    for one in analysis.break_even:
        assert one.predicted == pytest.approx(one.measured.value, rel=0.05)


def test_the_costs_are_those_that_the_rows_were_made_with(analysis: Analysis) -> None:
    costs = {one.configuration: one.costs for one in analysis.break_even}["nanospec"]
    per_row = (0.0158 - 0.0013) / (VOCAB_SIZE - 367)
    assert costs.head_per_row == pytest.approx(per_row, rel=0.05)
    assert costs.packed_head == pytest.approx(0.0013, rel=0.05)
    assert costs.vocabulary == pytest.approx(0.0009, rel=0.05)
    assert costs.untouched == pytest.approx(0.058 + 0.0055 + 0.0016, rel=0.05)


def test_peers_and_the_baseline_have_no_break_even(analysis: Analysis) -> None:
    assert [one.configuration for one in analysis.break_even] == ["static", "static:size=8192", "nanospec"]


def test_without_full_there_is_none() -> None:
    profiles = tuple(profile for profile in PROFILES if profile.label != "full")
    assert analyse(bench_rows(1, profiles=profiles), manifest()).break_even == []


def test_a_strategy_with_other_trees_is_left_out() -> None:
    rows = bench_rows(1, profiles=(PROFILES[1], Profile("nanospec", 0.001, 0.001, (200, 300), tree_nodes=16)))
    assert analyse(rows, manifest()).break_even == []


def test_a_packed_head_that_is_slower_per_row_pays_later() -> None:
    # 32,768 packed rows take as long as 60,000 of the full head would.
    full = Profile("full", 0.0492, 0.0, (VOCAB_SIZE, VOCAB_SIZE), noise=0.0)
    static = Profile("static", 0.0600, 0.0, (32_768, 32_768), noise=0.0)
    (found,) = analyse(bench_rows(1, profiles=(full, static), tasks=("code",)), manifest()).break_even
    retention = found.retention.value
    untouched = found.costs.untouched
    assert found.least_vocabulary == pytest.approx(
        ((untouched + 0.0600) / retention - untouched) / (0.0492 / VOCAB_SIZE)
    )


def test_a_drafter_with_a_head_of_its_own_breaks_even_at_its_own_size() -> None:
    full, pruned = Profile("full", 0.01, 0.0, (8_000, 8_000)), Profile("nanospec", 0.001, 0.0, (300, 400))
    (found,) = analyse(bench_rows(1, profiles=(full, pruned)), manifest()).break_even
    assert found.vocab_size == 8_000


def test_this_machine_is_as_fast_as_it_read_the_full_head(analysis: Analysis) -> None:
    here = next(one for one in analysis.estimates if one.device.name == THIS_MACHINE)
    slope = max(one.costs.head_per_row for one in analysis.break_even)
    assert here.device.bandwidth == pytest.approx(HIDDEN_SIZE * 2 * DEPTH / slope)
    assert (here.setting.levels, here.setting.tree_nodes) == (DEPTH, 8)


def test_the_shown_models_are_estimated_for_both_devices(analysis: Analysis) -> None:
    found = [(one.model.name, one.device.name) for one in analysis.estimates]
    names = ("Llama-3.1-8B", "Qwen2.5-7B", "Gemma-3-1B", "Gemma-3-4B")
    assert found == [(name, device) for device in (THIS_MACHINE, "H100 SXM") for name in names]


def test_a_larger_vocabulary_makes_pruning_pay_sooner() -> None:
    models = {model.name: model for model in MODELS}
    gemma, llama = models["Gemma-3-1B"], models["Llama-3.1-8B"]
    of_gemma, of_llama = (estimate(model, DEVICES[0], Setting()).costs for model in (gemma, llama))
    assert of_gemma.head_share(gemma.vocab_size) > of_llama.head_share(llama.vocab_size)
    assert of_gemma.least_retention(gemma.vocab_size) < of_llama.least_retention(llama.vocab_size)


def test_a_target_pass_reads_all_weights_of_the_target() -> None:
    llama = MODELS[0]
    byte_per_second = Device("slow", bandwidth=1.0, peak=float("inf"))
    moved = target_pass_time(llama, byte_per_second, Setting(context=0))
    assert moved / 2 == pytest.approx(8.03e9 - 128256 * 4096, rel=0.005)  # all but the embedding

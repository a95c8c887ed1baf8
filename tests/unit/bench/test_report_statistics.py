from __future__ import annotations

import attrs
import pytest
from bench_rows import changed
from report_rows import TASKS, VOCAB_SIZE, bench_rows, manifest

from specframe.bench.report.active_sizes import active_sizes
from specframe.bench.report.analysis import Analysis, analyse
from specframe.bench.report.answers import answers
from specframe.bench.report.lossless import divergences, lossless_summary
from specframe.bench.report.memory import memory
from specframe.bench.report.path_ends import path_ends
from specframe.bench.report.ratios import compare
from specframe.bench.report.run import OVERALL, Run
from specframe.bench.report.times import time_split
from specframe.bench.report.totals import totals
from specframe.bench.rows import BenchRow, Losslessness, Steps
from specframe.bench.summary import summary
from specframe.errors import SpecframeError

ROWS = bench_rows(6)
ROW = next(row for row in ROWS if row.configuration == "nanospec")
PEER = next(row for row in ROWS if row.configuration == "hf-greedy")


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyse(ROWS, manifest())


def row(configuration: str, id: str, seconds: float, task: str = "code") -> BenchRow:
    """A row of 60 new tokens in so many seconds."""
    return changed(
        ROW, configuration=configuration, id=id, task=task, wall_s=seconds, new_tokens=60, drafter="eagle"
    )


def with_steps(accepted: list[int], rejection: list[str | None], covered: list[int]) -> BenchRow:
    """A row whose target passes accepted so many tokens and emitted one more."""
    emitted = [count + 1 for count in accepted]
    steps = Steps(
        active_size=[100 + step for step in range(len(accepted))],
        tree_nodes=[8] * len(accepted),
        emitted=emitted,
        accepted=accepted,
        covered=covered,
        rejection=rejection,  # type: ignore[arg-type]
        rows_fetched=[4] * len(accepted),
    )
    return changed(ROW, steps=steps, accept_by_depth=[0.0, 0.0, 0.0], new_tokens=sum(emitted) + 1)


def test_ratios_are_paired_by_prompt() -> None:
    run = Run((row("a", "1", 3.0), row("b", "1", 1.5), row("a", "2", 8.0), row("b", "2", 4.0)), VOCAB_SIZE)
    overall, code = compare(run, "a")
    assert (overall.task, code.task) == (OVERALL, "code")
    assert overall.prompts == (2.0, 2.0)
    assert overall.ratio.value == pytest.approx(2.0)


def test_what_samples_is_compared_with_a_baseline_that_samples_alike() -> None:
    hot = "autoregressive:sampling.temperature=0.7", "nanospec:sampling.temperature=0.7"
    greedy = [row("autoregressive", "1", 4.0), row("nanospec", "1", 2.0)]
    sampled = [changed(row(label, "1", 3.0 / n), temperature=0.7) for n, label in enumerate(hot, start=1)]
    found = analyse([*greedy, *sampled], manifest())
    assert found.run.baselines == ["autoregressive", hot[0]]
    assert [(one.configuration, one.baseline, one.ratio.value) for one in answers(found)] == [
        ("nanospec", "autoregressive", pytest.approx(2.0)),
        (hot[1], hot[0], pytest.approx(2.0)),
    ]
    against = {line["configuration"]: line["/ autoregressive"] for line in summary(found)}
    assert against == {"autoregressive": "1.000", "nanospec": "2.000", hot[0]: "1.000", hot[1]: "2.000"}


def test_prompts_that_one_configuration_lacks_are_left_out() -> None:
    run = Run((row("a", "1", 3.0), row("b", "1", 1.5), row("a", "2", 1.0)), VOCAB_SIZE)
    assert compare(run, "a")[0].ratio.count == 1


def test_the_same_id_in_two_tasks_is_two_prompts() -> None:
    run = Run(
        tuple(row(label, "1", 2.0, task) for task in ("code", "qa") for label in ("a", "b")), VOCAB_SIZE
    )
    assert run.prompts == compare(run, "a")[0].ratio.count == 2


def test_autoregressive_and_full_are_the_baselines(analysis: Analysis) -> None:
    assert analysis.run.baselines == ["autoregressive", "full"]


def test_without_either_the_first_configuration_is_the_baseline() -> None:
    assert Run((row("b", "1", 1.0), row("a", "1", 1.0)), VOCAB_SIZE).baselines == ["b"]


def test_tau_and_coverage_count_tokens_of_target_passes() -> None:
    total = totals([with_steps([1, 0], [None, "oov"], [2, 0]), with_steps([2], ["drafter_miss"], [3])])
    assert total.tau == pytest.approx((2 + 1 + 3) / 3)
    assert total.coverage == pytest.approx(5 / 6)
    assert total.active_mean == pytest.approx((100 + 101 + 100) / 3)
    assert total.rows_fetched == 4


def test_a_peer_has_a_speed_and_nothing_that_it_does_not_tell() -> None:
    total = totals([PEER])
    assert total.tokens_per_s == pytest.approx(PEER.report.new_tokens / PEER.report.wall_s)
    assert (total.tau, total.coverage, total.active_mean) == (None, None, None)
    assert time_split([PEER]) is None


def test_a_rejection_is_counted_one_deeper_than_what_was_accepted() -> None:
    ends = path_ends([with_steps([0, 1, 1, 3], ["oov", "drafter_miss", "oov", None], [0, 2, 1, 4])])
    assert (ends.passes, ends.oov, ends.misses) == (4, 2, 1)
    assert ends.oov_by_depth == (1, 1, 0)
    assert ends.misses_by_depth == (0, 1, 0)
    assert ends.accepted_by_depth == (3, 1, 1)


def test_a_path_cut_by_the_end_has_no_depth_of_rejection() -> None:
    cut = with_steps([1], ["oov"], [1])
    assert cut.steps is not None
    cut = attrs.evolve(cut, steps=attrs.evolve(cut.steps, emitted=[1]))
    assert path_ends([cut]).oov == 1
    assert path_ends([cut]).oov_by_depth == (0, 0, 0)


def test_rejections_add_up_to_those_of_the_rows(analysis: Analysis) -> None:
    for label, by_task in analysis.path_ends.items():
        rows = analysis.run.of(label)
        assert by_task[OVERALL].oov == sum(row.report.oov_rejections or 0 for row in rows)
        assert by_task[OVERALL].misses == sum(row.report.drafter_misses or 0 for row in rows)
        assert sum(by_task[task].oov for task in TASKS) == by_task[OVERALL].oov


def test_the_parts_of_the_time_sum_to_the_wall_time() -> None:
    rows = [row for row in ROWS if row.configuration == "nanospec"]
    split = time_split(rows)
    assert split is not None
    assert split.wall == pytest.approx(sum(row.report.wall_s for row in rows))
    assert sum(split.draft_parts.values()) == pytest.approx(sum(row.report.draft_s or 0.0 for row in rows))
    assert min(split.draft_parts.values()) >= 0


def test_active_sizes_end_where_half_of_the_prompts_have_ended() -> None:
    sizes = active_sizes([with_steps([0] * passes, ["oov"] * passes, [0] * passes) for passes in (2, 4, 5)])
    assert sizes.median == (100, 101, 102, 103)
    assert sizes.lower == sizes.upper == sizes.median


def test_memory_is_the_largest_of_the_rows_and_unknown_for_a_peer() -> None:
    larger = attrs.evolve(ROW, packed_bytes=7_000_000)
    assert memory([ROW, larger]).packed == 7_000_000
    assert memory([PEER]).packed is None
    assert memory([PEER]).peak_rss == PEER.report.peak_rss_bytes


def test_a_text_beyond_the_tolerance_is_counted_and_comes_first() -> None:
    def checked(id: str, margin: float, *, passed: bool) -> BenchRow:
        lossless = Losslessness(
            equal=False,
            divergence=3,
            margin=margin,
            baseline_margin=0.0,
            largest_margin=margin,
            not_maximum=2,
            tolerance=0.5,
            passed=passed,
        )
        return changed(ROW, id=id, lossless=lossless)

    rows = [checked("tie", 0.125, passed=True), checked("wrong", 4.0, passed=False)]
    summary = lossless_summary(rows)
    assert (summary.checked, summary.compared, summary.equal, summary.failed) == (2, 2, 0, 1)
    assert summary.largest_margin == 4.0
    assert [row.report.id for row in divergences(rows)] == ["wrong", "tie"]


def test_every_drafting_configuration_gets_an_answer(analysis: Analysis) -> None:
    found = {answer.configuration: answer for answer in answers(analysis)}
    assert list(found) == ["full", "static", "static:size=8192", "nanospec"]
    assert found["full"].baseline == "autoregressive"
    assert (found["nanospec"].baseline, found["nanospec"].verdict) == ("full", "faster")


def test_too_few_prompts_are_said_to_be_too_few() -> None:
    few = analyse(bench_rows(1, tasks=("code",)), manifest())
    assert {answer.verdict for answer in answers(few)} == {"too few prompts to say"}


def test_a_run_without_rows_is_refused() -> None:
    with pytest.raises(SpecframeError, match="the run has no rows"):
        analyse([], manifest())

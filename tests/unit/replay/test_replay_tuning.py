from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
from traces import PROMPTS, endless_target, record, scripted_engine

from specframe.errors import SpecframeError, UsageError
from specframe.replay.costs import HeadCosts, measured_costs
from specframe.replay.offline import OfflineStrategy, ScreenReads
from specframe.replay.trace_file import Trace
from specframe.replay.tuning import TuningResult, latency, tune, tuning_headers, tuning_rows

# One microsecond a row, so that the least latency is the smallest active set.
COSTS = HeadCosts(
    hidden_size=64,
    dtype="float32",
    branching=1,
    machine="none",
    threads=1,
    sizes=[1, 101],
    head_s=[1e-6, 101e-6],
    fetches=[1],
    fetch_s=[0.0],
)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    path = tmp_path_factory.mktemp("trace") / "t"
    return record(scripted_engine(endless_target(), PROMPTS[0]), path, PROMPTS[:1])


def search(trace: Trace, trials: int = 12, floor: float = 0.3, **settings: object) -> TuningResult:
    fixed = {"core": "0", "capacity": "101", "eviction": "fifo"}
    return tune(trace, "nanospec", fixed, COSTS, coverage_floor=floor, trials=trials, **settings)  # type: ignore[arg-type]


def test_the_best_trial_is_the_fastest_above_the_floor(trace: Trace) -> None:
    result = search(trace)
    assert result.best is not None
    assert result.best.coverage >= 0.3
    faster = [one for one in result.front if one.latency_s < result.best.latency_s]
    assert all(one.coverage < 0.3 for one in faster)
    assert result.best in result.front


def test_what_is_found_can_be_typed(trace: Trace) -> None:
    result = search(trace)
    assert result.best is not None
    flags = result.flags(result.best)
    assert flags.startswith("--strategy nanospec -o vocabulary.core=0 -o vocabulary.capacity=101 ")
    assert "-o vocabulary.use_context=" in flags
    assert len(tuning_rows(result)[0]) == len(tuning_headers(result))


def test_only_what_was_recorded_is_tried(trace: Trace) -> None:
    assert all(one.options["harvest_topk"] <= 5 for one in search(trace).front)


def test_a_floor_that_nothing_reaches_leaves_no_best_trial(trace: Trace) -> None:
    assert search(trace, trials=3, floor=1.0).best is None


def test_a_search_goes_on_where_it_stopped(trace: Trace, tmp_path: Path) -> None:
    storage = tmp_path / "trials.db"
    assert search(trace, 3, storage=storage).trials == 3
    assert search(trace, 5, storage=storage).trials == 5
    assert search(trace, 5, storage=storage).trials == 5


def test_the_storage_of_another_search_is_refused(trace: Trace, tmp_path: Path) -> None:
    storage = tmp_path / "trials.db"
    search(trace, 1, storage=storage)
    with pytest.raises(UsageError, match="holds the search of another trace"):
        tune(trace, "nanospec", {}, COSTS, coverage_floor=0.3, trials=2, storage=storage)


def test_a_storage_that_is_no_database_is_one_line(trace: Trace, tmp_path: Path) -> None:
    storage = tmp_path / "trials.db"
    storage.write_text("hello " * 1000)
    with pytest.raises(SpecframeError, match=r"cannot use .* as storage"):
        search(trace, 1, storage=storage)


def test_a_strategy_without_options_cannot_be_searched(trace: Trace) -> None:
    with pytest.raises(UsageError, match="strategy 'full' has no option to search"):
        tune(trace, "full", {}, COSTS, coverage_floor=0.5, trials=1)


def test_costs_lie_on_the_line_between_what_was_measured() -> None:
    assert COSTS.head(51) == pytest.approx(51e-6)
    assert COSTS.head(201) == pytest.approx(201e-6)
    assert COSTS.fetch(0) == 0


def test_a_screen_costs_what_it_reads_and_the_candidates_of_every_state() -> None:
    costs = attrs.evolve(COSTS, branching=3, fetches=[1, 101], fetch_s=[1e-6, 101e-6])
    assert costs.screen(40, 10) == pytest.approx(40e-6 + 30e-6)


def test_a_screen_is_paid_for_at_every_level_and_an_active_set_beside_it(trace: Trace) -> None:
    replayed = OfflineStrategy(trace.header, "nanospec", {"core": "0"}).replay(trace.requests[0])
    (beside,) = [one for one in [replayed.steps[-1].stats.active_size] if one > 10]
    alone = attrs.evolve(replayed, steps=replayed.steps[-1:])
    costs = attrs.evolve(COSTS, fetches=[1, 101], fetch_s=[1e-6, 101e-6])
    with_screen = latency([alone], costs, 3, ScreenReads(40.0, 10))
    fetched = costs.fetch(alone.steps[0].stats.rows_fetched)
    assert with_screen == pytest.approx(3 * (40e-6 + 10e-6 + (beside - 10) * 1e-6) + fetched)


def test_costs_are_measured_once_and_kept(trace: Trace, tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    measured = measured_costs(trace.header, path)
    assert measured.sizes[-1] == 101
    assert all(seconds > 0 for seconds in [*measured.head_s, *measured.fetch_s])
    assert measured_costs(trace.header, path) == measured


def test_costs_of_another_head_are_refused(trace: Trace, tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(attrs.asdict(attrs.evolve(COSTS, hidden_size=32))))
    with pytest.raises(UsageError, match="was measured with hidden_size 32, and the trace has 64"):
        measured_costs(trace.header, path)
    path.write_text("{}")
    with pytest.raises(UsageError, match="holds no measured costs"):
        measured_costs(trace.header, path)

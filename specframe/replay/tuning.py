"""Searching a strategy's options on a trace: least drafting latency above a coverage floor.

Source: "Balancing Coverage and Draft Latency in Vocabulary Trimming" (2026): a constrained search of
coverage against draft latency with the Tree-structured Parzen Estimator. Here the latency is that of the
packed head, of screens and of fetching rows, from costs measured on this machine, and the options of any
strategy are searched.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import attrs
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from specframe.contracts.options import search_space
from specframe.errors import SpecframeError, UsageError
from specframe.ops.progress_line import ProgressLine
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe.replay.costs import HeadCosts
from specframe.replay.offline import OfflineStrategy, ReplayedRequest, ScreenReads
from specframe.replay.scores import pareto_front, score
from specframe.replay.trace_file import Trace

_COVERAGE, _ACTIVE = "coverage", "active_mean"


@attrs.frozen(slots=True)
class Trial:
    """One choice of options that was replayed.

    Attributes:
        options: those that were searched.
        coverage: share of the emitted tokens that were active.
        active_mean: K, mean over target passes.
        latency_s: head calls, those of a screen included, and fetched rows per target pass, seconds.
    """

    options: dict[str, Any]
    coverage: float
    active_mean: float
    latency_s: float


@attrs.frozen(slots=True)
class TuningResult:
    """What a search found.

    Attributes:
        strategy: its name.
        fixed: options that were not searched because they were given.
        best: the least latency among trials above the floor; None if no trial got there.
        front: trials that no other one beats in coverage and latency, by rising latency.
        trials: how many there were, those that options forbid included.
    """

    strategy: str
    fixed: dict[str, str]
    best: Trial | None
    front: list[Trial]
    trials: int

    def flags(self, trial: Trial) -> str:
        """Return the options of a trial as they are typed after ``specframe run``."""
        options = (f"-o vocabulary.{name}={value}" for name, value in self.typed(trial).items())
        return " ".join([f"--strategy {self.strategy}", *options])

    def typed(self, trial: Trial) -> dict[str, str]:
        """Return the options of a trial, each as it is typed."""
        chosen = {**self.fixed, **trial.options}
        return {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in chosen.items()
        }


def tune(
    trace: Trace,
    name: str,
    fixed: Mapping[str, str],
    costs: HeadCosts,
    *,
    coverage_floor: float,
    trials: int,
    storage: Path | None = None,
    seed: int = 0,
) -> TuningResult:
    """Search the options of a strategy.

    Args:
        trace: what is replayed in every trial.
        name: of the strategy.
        fixed: options that are not searched.
        costs: of the head and of fetching.
        coverage_floor: least coverage of an acceptable trial, 0 to 1.
        trials: how many there should be in all; those in ``storage`` count.
        storage: SQLite file that keeps the trials, to go on later; None keeps them in memory.
        seed: of the sampler.

    Raises:
        UsageError: nothing can be searched, or the storage belongs to another search.
        SpecframeError: the storage cannot be used.
    """
    if not 0 <= coverage_floor <= 1:
        raise UsageError(f"--coverage-floor is {coverage_floor}; allowed: 0 to 1")
    if trials < 1:
        raise UsageError(f"--trials is {trials}; allowed: 1 or more")
    manager = create_plugin_manager()
    component = build_registry(manager).get("vocabulary", name)
    # The options as given must be right; of those that are tried, some may not fit together.
    OfflineStrategy(trace.header, name, dict(fixed), manager)
    recorded = {"harvest_topk": trace.header.topk, "prompt_window": trace.header.prompt_window}
    space = {
        option: [value for value in values if option not in recorded or value <= recorded[option]]
        for option, values in search_space(component.options).items()
        if option not in fixed
    }
    if not space:
        given = f" besides {', '.join(fixed)}" if fixed else ""
        raise UsageError(f"strategy {name!r} has no option to search{given}")
    defaults = {field.name: field.default for field in attrs.fields(component.options)}
    study = _open_study(storage, seed, _key(trace, name, fixed, costs, space))
    if not study.trials:
        study.enqueue_trial(
            {
                option: values.index(defaults[option])
                for option, values in space.items()
                if defaults[option] in values
            }
        )

    def objective(trial: optuna.Trial) -> float:
        chosen = {
            option: values[trial.suggest_int(option, 0, len(values) - 1)] for option, values in space.items()
        }
        try:
            strategy = OfflineStrategy(trace.header, name, {**fixed, **chosen}, manager)
        except UsageError as error:
            trial.set_constraint("coverage floor", coverage_floor)
            raise optuna.TrialPruned(str(error)) from None
        requests = [strategy.replay(request) for request in trace.requests]
        overall = score(name, requests, trace.header).overall
        trial.set_constraint("coverage floor", coverage_floor - overall.coverage)
        trial.set_user_attr(_COVERAGE, overall.coverage)
        trial.set_user_attr(_ACTIVE, overall.active_mean)
        return latency(requests, costs, trace.header.max_depth, strategy.screen)

    study.sampler = _sampler(seed + len(study.trials))
    done = len([one for one in study.trials if one.state.is_finished()])
    with ProgressLine("tune", trials, done, "trials") as progress:
        if done < trials:
            study.optimize(
                objective, n_trials=trials - done, callbacks=[lambda study, trial: progress.advance()]
            )
    finished = [_trial(one, space) for one in study.trials if one.state is TrialState.COMPLETE]
    if not finished:
        raise SpecframeError(f"none of {len(study.trials)} trials had options of {name!r} that fit together")
    acceptable = [one for one in finished if one.coverage >= coverage_floor]
    front = pareto_front([(one.latency_s, one.coverage) for one in finished])
    return TuningResult(
        strategy=name,
        fixed=dict(fixed),
        best=min(acceptable, key=lambda one: (one.latency_s, -one.coverage), default=None),
        front=[finished[index] for index in front],
        trials=len([one for one in study.trials if one.state.is_finished()]),
    )


def latency(
    requests: Sequence[ReplayedRequest], costs: HeadCosts, max_depth: int, screen: ScreenReads | None = None
) -> float:
    """Return the seconds per target pass of the head calls of one draft, and of fetching new rows.

    Args:
        requests: replayed.
        costs: measured.
        max_depth: head calls per draft; a trace without drafts counts one.
        screen: what each head call reads besides the active set; None for a strategy without a screen.
    """
    screened, candidates = 0.0, 0
    if screen is not None:
        screened, candidates = costs.screen(screen.rows, screen.candidates), screen.candidates

    def call(active: float) -> float:
        return screened + (costs.head(active) if active else 0.0)

    return fmean(
        max(max_depth, 1) * call(step.stats.active_size - candidates) + costs.fetch(step.stats.rows_fetched)
        for request in requests
        for step in request.steps
    )


def tuning_rows(result: TuningResult) -> list[tuple[str, ...]]:
    """Return the Pareto front of latency and coverage as rows, a star on the chosen trial."""
    return [
        (
            f"{1e3 * one.latency_s:.3f}",
            f"{one.coverage:.3f}",
            f"{one.active_mean:,.0f}",
            "*" if one is result.best else "",
            *result.typed(one).values(),
        )
        for one in result.front
    ]


def tuning_headers(result: TuningResult) -> tuple[str, ...]:
    """Return the headers of ``tuning_rows``."""
    return ("ms/pass", "coverage", "active", "best", *result.typed(result.front[0]))


def to_json(result: TuningResult) -> str:
    """Return everything as one line of JSON."""
    return json.dumps(attrs.asdict(result))


def _open_study(storage: Path | None, seed: int, key: str) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name = "specframe replay"
    try:
        study = optuna.create_study(
            storage=None if storage is None else f"sqlite:///{storage}",
            study_name=name,
            load_if_exists=True,
        )
        if study.user_attrs.setdefault("key", key) != key:
            raise UsageError(
                f"{storage} holds the search of another trace, strategy, set of options or costs; allowed: "
                "another file"
            )
        study.set_user_attr("key", key)
    except SpecframeError:
        raise
    except Exception as error:  # SQLAlchemy raises whatever the database does
        raise SpecframeError(f"cannot use {storage} as storage: {str(error).splitlines()[0]}") from error
    return study


def _sampler(seed: int) -> TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(seed=seed, multivariate=True)


def _key(
    trace: Trace, name: str, fixed: Mapping[str, str], costs: HeadCosts, space: Mapping[str, Sequence[Any]]
) -> str:
    """Return a hash of everything that decides what a trial gives."""
    digest = hashlib.sha256(repr((trace.header, name, sorted(fixed.items()), costs, dict(space))).encode())
    for request in trace.requests:
        digest.update(f"{request.id}\n{request.task}\n".encode())
        digest.update(request.token_ids.numpy().tobytes())
    return digest.hexdigest()


def _trial(one: FrozenTrial, space: Mapping[str, Sequence[Any]]) -> Trial:
    assert one.value is not None
    options = {option: values[one.params[option]] for option, values in space.items()}
    return Trial(options, one.user_attrs[_COVERAGE], one.user_attrs[_ACTIVE], one.value)

"""Cost curves as tables, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from specframe.cli.examination import DoctorOptions
from specframe.config import DEFAULT_DRAFTER, RunConfig
from specframe.costs.model import CostModel
from specframe.engine.assembly import build_engine
from specframe.engine.drafting.forecast import Forecast, forecast
from specframe.engine.drafting.planned import PlannedDrafting
from specframe.engine.forwards import ForwardTimes, compare_forwards
from specframe.engine.heads import HeadTimes, compare_heads
from specframe.model.loading import default_model
from specframe.registry.placement import find_dtype, resolve_placement

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]

_NODES = (1, 2, 4, 8, 16, 32)
_ROWS = (512, 2048, 8192)
# A drafter that is right so often is a good one; where not even that pays, nothing does.
_GOOD = 0.8
_WORTH = 1.02


def known_costs(options: DoctorOptions) -> CostModel:
    """Return the costs of a target with its drafter, measured where they are not known.

    Raises:
        UsageError: there is no such model or drafter, or no drafter for the model.
    """
    checkpoint = {} if options.checkpoint is None else {"checkpoint": str(options.checkpoint)}
    config = RunConfig(
        model=options.model or default_model(),
        drafter=options.drafter or DEFAULT_DRAFTER,
        device=options.device,
        dtype=options.dtype,
        cuda_graph=False,
        options={"drafter": checkpoint},
    )
    drafting = build_engine(config).drafting
    assert isinstance(drafting, PlannedDrafting)
    return drafting.costs


def compared_forwards(options: DoctorOptions) -> ForwardTimes | None:
    """Return how fast each forward runs a target here; None where only one of them can.

    Raises:
        UsageError: there is no such model.
    """
    model = options.model or default_model()
    config = resolve_placement(RunConfig(model=model, device=options.device, dtype=options.dtype))
    return compare_forwards(model, find_dtype(config.dtype)) if config.device == "cpu" else None


def compared_heads(options: DoctorOptions) -> HeadTimes | None:
    """Return how fast the target finds its first choices either way; None where that is not compared.

    Raises:
        UsageError: there is no such model.
    """
    model = options.model or default_model()
    config = resolve_placement(RunConfig(model=model, device=options.device, dtype=options.dtype))
    return compare_heads(model, find_dtype(config.dtype)) if config.device == "cpu" else None


def to_tables(
    costs: CostModel, forwards: ForwardTimes | None = None, heads: HeadTimes | None = None
) -> Iterator[Table]:
    """Yield title, headers and rows of every table."""
    setup, machine = costs.setup, costs.machine
    if forwards is not None:
        yield _compared("forward", forwards)
    if heads is not None:
        title, headers, rows = _compared("head", heads)
        more = f"a screen takes {heads.extra_bytes / 1e6:,.0f} MB, and {heads.build_s:.1f} s at every start"
        yield f"{title}; {more}", headers, rows
    where = f"{setup.model}, {setup.dtype} on {setup.device}, {setup.forward}, {machine.threads} threads"
    yield (
        f"target pass ({where}; {costs.context} tokens of context)",
        ("nodes", "ms", "times one node", "ms per 1,000 tokens of context"),
        [
            (
                str(nodes),
                f"{_ms(costs.pass_s(nodes))}",
                f"{costs.pass_s(nodes) / costs.pass_s(1):.2f}",
                _ms(1000 * costs.context_s(nodes)) if any(costs.context_s.seconds) else "not measured",
            )
            for nodes in _NODES
        ],
    )
    levels: list[tuple[str, ...]] = [("first level, without the head", _ms(costs.draft_s))]
    levels += [
        (f"further level of {width} nodes, likewise", _ms(costs.level_s(width)))
        for width in sorted({1, costs.width})
    ]
    yield f"draft ({setup.drafter})", ("part", "ms"), levels
    yield (
        f"head ({setup.gather})",
        ("active rows", "ms for 1 state", f"ms for {costs.width} states"),
        [
            *((f"{rows:,}", _ms(costs.head(1, rows)), _ms(costs.head(costs.width, rows))) for rows in _ROWS),
            ("all", _ms(costs.head(1, None)), _ms(costs.head(costs.width, None))),
        ],
    )
    yield (
        "what follows, by how often the drafter's best token is the target's",
        ("accepted", "passes with a draft", "levels", "nodes", "tau", "speed / no drafts"),
        [_row(one) for one in forecast(costs)],
    )


def verdict(costs: CostModel) -> str:
    """Return in one line whether drafting pays here."""
    good = forecast(costs, (_GOOD,))[0]
    if good.speed < _WORTH:
        return (
            f"drafting does not pay here even if {_GOOD:.0%} of the drafter's best tokens are accepted: a "
            f"target pass of 4 nodes takes {costs.pass_s(4) / costs.pass_s(1):.1f} times as long as one of 1"
            + ("; weights of fewer bits gain more here (llama.cpp)" if costs.setup.device == "cpu" else "")
        )
    least = min(one.acceptance for one in [good, *forecast(costs)] if one.speed >= _WORTH)
    return (
        f"drafting pays where about {least:.0%} or more of the drafter's best tokens are accepted; at "
        f"{_GOOD:.0%} it makes decoding {good.speed:.1f} times as fast"
    )


def to_values(
    costs: CostModel, forwards: ForwardTimes | None = None, heads: HeadTimes | None = None
) -> dict[str, object]:
    """Return the same as values of a JSON object."""
    return {
        **attrs.asdict(costs),
        "forecast": [attrs.asdict(one) for one in forecast(costs)],
        "forwards": None if forwards is None else attrs.asdict(forwards),
        "heads": None if heads is None else attrs.asdict(heads),
    }


def _compared(what: str, times: ForwardTimes | HeadTimes) -> Table:
    """Return the table of passes that were measured in several ways, and which one ``auto`` takes."""
    taken = f"--target-{what} auto takes {times.taken} from now on"
    busy = f"other programs ran, so --target-{what} auto stays as it is"
    return (
        f"target pass by {what}, ms; {taken if times.is_quiet else busy}",
        ("nodes", *times.seconds),
        [
            (str(nodes), *(_ms(seconds) for seconds in row))
            for nodes, *row in zip(times.nodes, *times.seconds.values(), strict=True)
        ],
    )


def _row(one: Forecast) -> tuple[str, ...]:
    return (
        f"{one.acceptance:.0%}",
        f"{one.drafted:.0%}",
        f"{one.levels:.1f}",
        f"{one.nodes:.1f}",
        f"{one.tau:.2f}",
        f"{one.speed:.2f}",
    )


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.2f}"

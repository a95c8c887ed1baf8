from __future__ import annotations

import itertools

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from report_rows import PROFILES, TASKS, Profile, bench_rows, manifest

from specframe.bench.configurations import parse_configurations
from specframe.bench.report.analysis import Analysis, analyse
from specframe.bench.report.charts.gallery import Chart, charts, sweep_chart
from specframe.bench.report.charts.theme import DARK, LIGHT, colours, wrapped
from specframe.bench.report.standings import standing

# What a sweep over options looks like: labels as long as people type them.
SWEEP = (
    *PROFILES[:2],
    *(
        Profile(
            f"nanospec:capacity={256 * n},harvest_topk={n},drafter.depth=3", 0.001, 0.001, (150, 160 * n), 0.1
        )
        for n in range(1, 7)
    ),
)
RUNS = {
    "usual": analyse(bench_rows(5), manifest()),
    "sweep": analyse(bench_rows(2, profiles=SWEEP), manifest()),
}
STANDINGS = [
    standing(configuration, RUNS["sweep"].run, "full", 1 + number % 2)
    for number, configuration in enumerate(parse_configurations([one.label for one in SWEEP]))
]
CHARTS = [
    *(pytest.param(chart, id=f"{name}-{chart.name}") for name, run in RUNS.items() for chart in charts(run)),
    pytest.param(sweep_chart(STANDINGS, "full"), id="sweep"),
]


@pytest.fixture
def usual() -> Analysis:
    return RUNS["usual"]


def drawn(chart: Chart) -> Figure:
    """Return a chart with everything in place."""
    figure = chart.render(LIGHT)
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    return figure


def texts(figure: Figure) -> list[Text]:
    """Return what can be read on a figure; ticks beyond the axes keep hidden labels."""
    hidden = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    found = figure.findobj(lambda artist: isinstance(artist, Text) and id(artist) not in hidden)
    return [text for text in found if text.get_visible() and text.get_text().strip()]


# Extents are of the words alone, without the line that an annotation may have to its point.
@pytest.mark.parametrize("chart", CHARTS)
def test_no_text_covers_another(chart: Chart) -> None:
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in texts(drawn(chart))]
    for (one, box), (other, other_box) in itertools.combinations(boxes, 2):
        across = min(box.x1, other_box.x1) - max(box.x0, other_box.x0)
        up = min(box.y1, other_box.y1) - max(box.y0, other_box.y0)
        assert min(across, up) < 3, f"{one!r} and {other!r}"


@pytest.mark.parametrize("chart", CHARTS)
def test_every_text_is_inside_the_picture(chart: Chart) -> None:
    figure = drawn(chart)
    for text in texts(figure):
        box = Text.get_window_extent(text)
        assert box.x0 >= 0, text.get_text()
        assert box.y0 >= 0, text.get_text()
        assert box.x1 <= figure.bbox.width, text.get_text()
        assert box.y1 <= figure.bbox.height, text.get_text()


def test_speeds_are_shown_for_every_task_and_configuration(usual: Analysis) -> None:
    speed = next(chart for chart in charts(usual) if chart.name == "speed-against-full")
    shown = [text.get_text() for text in texts(drawn(speed))]
    assert {"overall", *TASKS} <= set(shown)
    for one in usual.comparisons["full"]:
        assert one.configuration in shown
        assert f"{one.ratio.value:.2f}" in shown


def test_a_configuration_has_one_colour_wherever_it_is_compared() -> None:
    some, all_of_them = (
        colours(["full", "nanospec"], LIGHT),
        colours(["static", "full", "x", "nanospec"], LIGHT),
    )
    assert {label: all_of_them[label] for label in some} == some


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_variants_of_a_strategy_have_colours_of_their_own(theme: object) -> None:
    labels = ["full", *(f"nanospec:capacity={capacity}" for capacity in range(100, 1300, 100))]
    assert len(set(colours(labels, theme).values())) == len(labels)  # type: ignore[arg-type]


def test_a_long_label_is_broken_and_keeps_every_character() -> None:
    label = "nanospec:drafter.depth=3,drafter.branching=1,drafter.nodes=4"
    lines = wrapped(label).split("\n")
    assert "".join(lines) == label
    assert max(map(len, lines)) <= 26


def test_a_run_of_peers_alone_has_the_charts_that_it_has_data_for() -> None:
    run = analyse(bench_rows(1, profiles=PROFILES[-2:]), manifest())
    assert [chart.name for chart in charts(run)] == ["speed-against-hf-greedy", "time-split"]

"""The report as a reader sees it: opened in Chromium, without network and with scripts switched off."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from report_rows import PROFILES, bench_rows, manifest

from specframe.bench.checks import CheckResult
from specframe.bench.report.writing import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"),
    reason="Chromium is not installed; where there is apt-get, .ci/browser installs it",
)

FINDING = CheckResult("nanospec", "isolation", False, "<b>left over</b> & more")


@attrs.frozen
class Seen:
    """An open page and what happened while it loaded."""

    page: Page
    requests: list[str]
    complaints: list[str]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None, "CI has to install Chromium: this test must not be skipped there"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = bench_rows(5, tasks=("conversation", "code"))
    return write_report(rows, manifest(findings=[FINDING]), tmp_path_factory.mktemp("run") / "report")


@pytest.fixture(scope="module")
def seen(browser: Browser, report: Path) -> Iterator[Seen]:
    context = browser.new_context(viewport={"width": 1400, "height": 900}, java_script_enabled=False)
    found = Seen(context.new_page(), [], [])
    found.page.on("request", lambda request: found.requests.append(request.url))
    found.page.on("console", lambda message: found.complaints.append(message.text))
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
    found.page.goto(report.as_uri())
    yield found
    context.close()


def cells(seen: Seen, table: str) -> list[list[str]]:
    """Return the texts of a table's rows, the head too."""
    rows = seen.page.locator(table).first.locator("tr").all()
    return [[" ".join(cell.split()) for cell in row.locator("th, td").all_inner_texts()] for row in rows]


def test_the_title_says_which_model_was_measured(seen: Seen) -> None:
    assert seen.page.title() == "a-model: vocabulary strategies compared"
    assert seen.page.locator("h1").inner_text() == "Does vocabulary pruning pay for a-model?"


def test_nothing_is_requested_but_the_page_itself(seen: Seen, report: Path) -> None:
    assert seen.requests == [report.as_uri()]


def test_the_browser_has_nothing_to_complain_about(seen: Seen) -> None:
    assert seen.complaints == []


def test_the_summary_has_a_row_per_configuration(seen: Seen) -> None:
    head, *rows = cells(seen, "#summary")
    assert head[:4] == ["configuration", "tokens/s", "against autoregressive", "against full"]
    assert [row[0] for row in rows] == [profile.label for profile in PROFILES]
    assert all(len(row) == len(head) for row in rows)


def test_ratios_are_shown_with_their_intervals_for_every_task(seen: Seen) -> None:
    rows = cells(seen, "table.ratios")
    assert [row[0] for row in rows] == ["task", "overall", "conversation", "code"]
    nanospec = rows[0].index("nanospec")
    for row in rows[1:]:
        value, low, high = map(
            float, row[nanospec].replace("[", "").replace("]", "").replace(",", "").split()
        )
        assert low <= value <= high


def test_the_answer_comes_first(seen: Seen) -> None:
    answers = seen.page.locator("#answers li").all_inner_texts()
    assert "nanospec" in answers[-1]
    assert answers[-1].endswith("faster")


def test_the_break_even_is_said_in_words(seen: Seen) -> None:
    lines = seen.page.locator("#break-even-answers li").all_inner_texts()
    assert [line.split()[0] for line in lines] == ["static", "static:size=8192", "nanospec"]
    assert "from a head that takes" in lines[-1]


def test_estimates_are_marked_as_such(seen: Seen) -> None:
    box = seen.page.locator("#estimates")
    assert box.locator("h3").inner_text() == "Estimate for other models, not measured"
    assert "Llama-3.1-8B" in box.inner_text()


def test_findings_of_the_run_are_shown_as_they_are(seen: Seen) -> None:
    assert seen.page.locator("#findings li").inner_text() == "nanospec, isolation: <b>left over</b> & more"


def test_command_versions_and_machine_are_shown(seen: Seen) -> None:
    text = seen.page.locator("main").inner_text()
    assert seen.page.locator("#command").inner_text() == manifest().command
    assert "a processor" in text
    assert "24.00 GiB" in text
    assert "2.13.0" in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_image_is_decoded_in_light_and_in_dark(browser: Browser, report: Path, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(report.as_uri())
    # The page's policy stops its own scripts; the browser's inspector still reads from it.
    images = page.evaluate("[...document.images].map(one => [one.complete, one.naturalWidth, one.alt])")
    page.close()
    assert len(images) == len(list(report.parent.glob("*.png"))) == 9
    assert all(complete and width > 800 and alt for complete, width, alt in images)


@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_itself_never_scrolls_sideways(browser: Browser, report: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(report.as_uri())
    scrolled = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert scrolled <= width


def test_the_ground_follows_the_readers_choice(browser: Browser, report: Path) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto(report.as_uri())
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.close()
    assert ground == "rgb(22, 27, 34)"

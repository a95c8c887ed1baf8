"""The page of ``run --html`` as a reader uses it: with mouse, keyboard, phone and dark ground."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from byte_tokenizer import byte_tokenizer
from playwright.sync_api import Browser, Page, sync_playwright
from shown import Told, drafted, report_of

from specframe.cli.shown.page import page as write_page
from specframe.cli.shown.token_texts import TokenTexts

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"),
    reason="Chromium is not installed; where there is apt-get, .ci/browser installs it",
)

WORDS = ("Ġthe", "Ġharbour", "Ġlight", "Ġsea", "</script><img/src=x/onerror=alert(1)>", "Ċ", "ĠĠ")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None, "CI has to install Chromium: this test must not be skipped there"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def written(folder: Path, tokenizer: Any, told: Told) -> Path:
    path = folder / "page.html"
    text = write_page(
        told.story, report_of(told), prompt="p", vocab_size=90, token_text=TokenTexts(tokenizer)
    )
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = byte_tokenizer(*WORDS)
    the, harbour, light, sea, evil, newline, _ = tokenizer.convert_tokens_to_ids([*WORDS])
    told = Told(
        tokenizer,
        the,
        drafted(the, [harbour, light], sea, "oov", rejected=[the, evil]),
        drafted(sea, [newline, the], evil, source="lookup"),
        drafted(evil, [], the, "drafter_miss", rejected=[sea]),
    )
    return written(tmp_path_factory.mktemp("page"), tokenizer, told)


@pytest.fixture
def seen(browser: Browser, path: Path) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append("a dialog"))
    page.on("request", lambda request: said.extend([request.url] if request.url != path.as_uri() else []))
    page.goto(path.as_uri())
    yield page
    page.close()
    assert said == []


def nodes(page: Page) -> list[str]:
    return [" ".join(one.split()) for one in page.locator("#tree .node").all_inner_texts()]


def test_a_click_shows_the_tree_of_the_tokens_pass(seen: Page) -> None:
    seen.click("#t1")
    assert seen.locator("#heading").inner_text() == "Pass 1 of 3"
    evil = "</script><img/src=x/onerror=alert(1)>"
    assert nodes(seen) == ["·the", "·harbour 50%", "·light 50%", "·the 25%", f"{evil} 25%", "·sea not active"]


def test_the_sentence_says_why_the_path_ended(seen: Page) -> None:
    said = seen.locator("#said")
    seen.click("#t3")
    assert said.inner_text() == (
        "4 drafted tokens, 2 accepted. The target chose “sea”, which was not active: no draft could have it. "
        "7 tokens were active."
    )
    seen.click("#t5")
    assert "The whole path was right" in said.inner_text()
    seen.locator("#text").press("End")
    assert "which was active, but not drafted here" in said.inner_text()


def test_accepted_and_rejected_nodes_are_told_apart(seen: Page) -> None:
    seen.click("#t1")
    assert seen.locator("#tree .node.accepted").count() == 2
    assert seen.locator("#tree .node.rejected").count() == 2
    assert seen.locator("#tree path.accepted").count() == 3


def test_the_table_has_what_the_picture_has(seen: Page) -> None:
    seen.click("#t1")
    seen.click("#more summary")
    rows = [row.locator("td").all_inner_texts() for row in seen.locator("#nodes tbody tr").all()]
    assert [row[2:] for row in rows] == [
        ["0", "", "", "yes", "emitted before", "root"],
        ["1", " the", "50.0%", "yes", "eagle, by its head", "accepted"],
        ["2", " harbour", "50.0%", "yes", "eagle, by its head", "accepted"],
        ["3", " light", "25.0%", "yes", "eagle, by its head", "rejected"],
        ["3", " light", "25.0%", "yes", "eagle, by its head", "rejected"],
        ["3", " light", "", "no", "the target", "not active"],
    ]


def test_the_keyboard_reaches_every_token_and_pass(seen: Page) -> None:
    text = seen.locator("#text")
    text.press("Home")
    assert seen.locator("#heading").inner_text() == "The first token"
    text.press("ArrowRight")
    assert text.get_attribute("aria-activedescendant") == "t1"
    assert seen.locator("[aria-selected=true]").get_attribute("id") == "t1"
    text.press("ArrowDown")
    assert seen.locator("#heading").inner_text() == "Pass 2 of 3"
    text.press("End")
    assert text.get_attribute("aria-activedescendant") == "t7"
    seen.click("#before")
    assert seen.locator("#heading").inner_text() == "Pass 2 of 3"


def test_copied_text_is_what_the_model_wrote(seen: Page) -> None:
    shown = seen.evaluate("document.getElementById('text').textContent")
    assert shown == " the harbour light sea\n the</script><img/src=x/onerror=alert(1)> the"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_its_ground(browser: Browser, path: Path, scheme: Any) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto(path.as_uri())
    page.click("#t1")
    # The contrast of text with what is behind it, after WCAG 2.
    ratios = page.evaluate(
        """() => {
          const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
          const light = (colour) => parts(colour).slice(0, 3).map((one) => one / 255)
            .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
            .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
          const ground = (element) => {
            for (let one = element; one; one = one.parentElement) {
              const found = getComputedStyle(one).backgroundColor;
              if ((parts(found)[3] ?? 1) === 1) return found;
            }
          };
          const shown = document.querySelectorAll(
            "#legend b, #text b, .node > span, .node small, p, dt, dd, th");
          return [...shown].map((one) => {
            const [a, b] = [light(getComputedStyle(one).color), light(ground(one))].sort((x, y) => y - x);
            return [(a + 0.05) / (b + 0.05), one.className || one.tagName];
          });
        }"""
    )
    page.close()
    assert len(ratios) > 30
    assert [name for ratio, name in ratios if ratio < 4.5] == []


@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_itself_never_scrolls_sideways(browser: Browser, path: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(path.as_uri())
    page.click("#t1")
    scrolled = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert scrolled <= width


def test_on_a_phone_the_chosen_token_is_not_behind_its_tree(browser: Browser, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(*WORDS)
    passes = [drafted(64, [65, 66, 67], 68, "drafter_miss", rejected=[69, 70]) for _ in range(150)]
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(written(tmp_path, tokenizer, Told(tokenizer, 64, *passes)).as_uri())
    for token in (1, 20, 300, 400):
        page.click(f"#t{token}")
        chosen, panel = page.locator(f"#t{token}").bounding_box(), page.locator("#panel").bounding_box()
        assert chosen is not None
        assert panel is not None
        assert chosen["y"] + chosen["height"] <= panel["y"] + 1
    page.close()


def test_two_thousand_tokens_answer_at_once(browser: Browser, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    passes = [drafted(64, [65, 66, 67], 68, "drafter_miss", rejected=range(70, 110)) for _ in range(500)]
    page = browser.new_page()
    page.goto(written(tmp_path, tokenizer, Told(tokenizer, 64, *passes)).as_uri())
    spent = page.evaluate(
        """() => {
          const text = document.getElementById("text"), began = performance.now();
          for (let at = 0; at < 20; at += 1) {
            text.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown" }));
            text.getBoundingClientRect();
          }
          return (performance.now() - began) / 20;
        }"""
    )
    page.close()
    assert spent < 200  # ms; about 10 on a quiet machine


def test_without_scripts_the_text_is_coloured_all_the_same(browser: Browser, path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("#text b.drafted").count() == 2
    assert "scripts are switched off" in page.locator("#panel").inner_text()
    context.close()


def test_a_bar_of_the_strip_selects_its_pass(seen: Page) -> None:
    area = seen.locator("#strip svg").bounding_box()
    assert area is not None
    seen.locator("#strip svg").click(position={"x": area["width"] * 0.5, "y": area["height"] * 0.9})
    assert seen.locator("#heading").inner_text() == "Pass 2 of 3"
    drawn = [one.get_attribute("class") for one in seen.locator("#strip rect").all()]
    assert drawn == ["on", *["drafted"] * 2, "outside", *["source-0"] * 2, "bonus", "recovered"]


def test_no_bar_is_higher_than_its_chart(seen: Page) -> None:
    chart = seen.locator("#depths").bounding_box()
    share = seen.locator("#depths b").first.bounding_box()
    assert chart is not None
    assert share is not None
    assert share["y"] >= chart["y"]


def test_the_text_can_be_played_pass_by_pass(browser: Browser, path: Path) -> None:
    page = browser.new_page()
    page.clock.install()
    page.goto(path.as_uri())
    page.clock.pause_at(4_000_000_000_000)
    page.click("#play")
    hidden, seen = page.locator("#text .later"), list[tuple[str, int]]()
    for _ in range(4):
        seen.append((page.locator("#heading").inner_text(), hidden.count()))
        page.clock.run_for(350)
    assert seen == [("The first token", 7), ("Pass 1 of 3", 4), ("Pass 2 of 3", 1), ("Pass 3 of 3", 0)]
    assert page.locator("#play").inner_text() == "Play it pass by pass"
    page.close()


def test_playing_can_be_stopped(seen: Page) -> None:
    seen.click("#play")
    seen.click("#play")
    assert seen.locator("#text .later").count() == 0
    assert seen.locator("#play").inner_text() == "Play it pass by pass"

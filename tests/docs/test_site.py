"""The documentation as a site: built, and opened in Chromium at the width of a phone and of a desk."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import attrs
import pytest
from doc_blocks import ROOT, pages
from playwright.sync_api import sync_playwright

pytest.importorskip("mkdocs", reason="mkdocs is not installed; pip install 'specframe[docs]'")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = (390, 1280)
# A table, a picture or a line of code may be wider than the page where it scrolls within.
_WIDER = "document.documentElement.scrollWidth - window.innerWidth"
_BROKEN = "[...document.images].filter(image => !image.naturalWidth).map(image => image.src)"

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"),
    reason="Chromium is not installed; where there is apt-get, .ci/browser installs it",
)


@attrs.frozen
class Seen:
    """What happened while the pages of the site were opened."""

    pages: list[str] = attrs.field(factory=list)
    requests: set[str] = attrs.field(factory=set)
    complaints: list[str] = attrs.field(factory=list)
    too_wide: list[tuple[str, int]] = attrs.field(factory=list)
    broken: list[str] = attrs.field(factory=list)


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def seen(site: Path, address: str) -> Seen:
    assert CHROMIUM is not None, "CI has to install Chromium: this test must not be skipped there"
    found = Seen(sorted(page.relative_to(site).as_posix() for page in site.rglob("*.html")))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: found.requests.add(request.url))
        page.on("console", lambda said: found.complaints.append(said.text))
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        for name in found.pages:
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                page.goto(address + name)
                if page.evaluate(_WIDER) > 0:
                    found.too_wide.append((name, width))
            found.broken.extend(page.evaluate(_BROKEN))
        browser.close()
    return found


def test_every_page_of_docs_is_a_page_of_the_site(seen: Seen) -> None:
    ours = {page.removeprefix("docs/").removesuffix(".md") for page in pages() if page.startswith("docs/")}
    assert ours <= {page.removesuffix(".html") for page in seen.pages}


def test_no_page_is_wider_than_the_screen(seen: Seen) -> None:
    assert seen.too_wide == []


def test_every_picture_is_there(seen: Seen) -> None:
    assert seen.broken == []


def test_nothing_comes_from_elsewhere(seen: Seen, address: str) -> None:
    assert {url for url in seen.requests if not url.startswith((address, "data:"))} == set()


def test_the_browser_has_nothing_to_complain_about(seen: Seen) -> None:
    assert seen.complaints == []


def test_a_link_to_a_file_of_the_repository_leads_to_a_page_with_it(site: Path) -> None:
    assert 'href="source/benchmarks/roofline.py.html"' in (site / "kernels.html").read_text(encoding="utf-8")
    page = (site / "source" / "benchmarks" / "roofline.py.html").read_text(encoding="utf-8")
    assert "bandwidth" in page

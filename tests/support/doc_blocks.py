"""The code blocks of README and docs: each is run, or says right above itself why it is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
# What is code, and what is shown: layouts, formulas, messages.
CODE = ("console", "json", "python", "sh", "toml")
SHOWN = ("text",)
# What a test of their own runs, by page and language. The test names its page.
ELSEWHERE = {
    ("docs/first-plugin.md", "console"): "tests/plugins/test_first_plugin_page.py",
    ("docs/first-plugin.md", "python"): "tests/plugins/test_first_plugin_page.py",
    ("docs/first-plugin.md", "toml"): "tests/plugins/test_first_plugin_page.py",
    ("docs/metrics.md", "python"): "tests/plugins/metrics/test_docs_metrics.py",
    ("docs/python.md", "python"): "tests/e2e/test_docs_python.py",
    ("docs/training-with-trl.md", "python"): "tests/e2e/test_trl_rollouts.py",
}
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- not run: (?P<reason>[^\n]+) -->\n *$")
# A hook as docs/hooks.md shows it, which a test compares with the code.
_SIGNATURE = re.compile(r"def specframe_\w+\([^\n]*\) -> [^\n:]*\n$")


@attrs.frozen
class Block:
    """A fenced block.

    Attributes:
        page: path from the root of the repository.
        line: of its fence.
        language: what stands behind the fence.
        text: what is in it, without the indent of the fence.
        reason: why it is not run; empty where it is.
    """

    page: str
    line: int
    language: str
    text: str
    reason: str

    @property
    def place(self) -> str:
        """Where it is, as an editor understands it."""
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str:
        """The name of the file that it is, by a comment in its first line; empty where it is none."""
        named = re.match(r"# ([\w.-]+\.\w+)\n", self.text)
        return named[1] if named else ""

    @property
    def runs(self) -> bool:
        """Whether the general tests run it."""
        elsewhere = (self.page, self.language) in ELSEWHERE or _SIGNATURE.match(self.text)
        return self.language in CODE and not self.reason and not elsewhere


def pages() -> list[str]:
    """Return README and the pages of docs, by their paths."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page.relative_to(ROOT).as_posix() for page in found]


def blocks_of(page: str) -> Iterator[Block]:
    """Yield the blocks of a page in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for fence in _FENCE.finditer(text):
        indent = len(fence["indent"])
        inside = "".join(line[indent:] or "\n" for line in fence["text"].splitlines(keepends=True))
        mark = _MARK.search(text[: fence.start()])
        line = text.count("\n", 0, fence.start()) + 1
        yield Block(page, line, fence["language"], inside, mark["reason"] if mark else "")


def write_files(page: str, folder: Path) -> None:
    """Write the files that a page shows into a folder."""
    for block in blocks_of(page):
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")


def blocks() -> list[Block]:
    """Return the blocks of all pages."""
    return [block for page in pages() for block in blocks_of(page)]

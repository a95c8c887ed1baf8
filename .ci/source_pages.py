"""What pages link to outside `docs/` becomes a page of the site.

A link such as `../benchmarks/roofline.py` leads to the file on a code host. A site has no such file, so the
build makes a page of it: text as it is, a README as it reads, and of a folder the list of its files.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# Where the pages of files outside `docs/` stand, as the files do in the repository.
PLACE = "source/"
# A relative link of Markdown; what comes after a `#` is none of its path.
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|[/#])(?P<path>[^)#\s]+)(?=[)#])")
SHOWN = {".py": "python", ".json": "json", ".toml": "toml", ".md": "markdown"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every file outside `docs/` that a page links to, and for those that these link to."""
    waiting = [file.src_uri for file in files.documentation_pages()]
    while waiting:
        place = waiting.pop()
        for target in _linked(place, files):
            uri = _uri(target)
            if not target.is_relative_to(DOCS) and files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, content=_content(target)))
                waiting.append(uri)
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let links to files outside `docs/`, and between those, lead to their pages."""
    place = page.file.src_uri
    return LINK.sub(
        lambda link: posixpath.relpath(_uri(_target(place, link["path"])), posixpath.dirname(place)), markdown
    )


def _linked(place: str, files: Files) -> Iterator[Path]:
    """Yield the files that a page links to."""
    page = files.get_file_from_path(place)
    if page is not None:
        for link in LINK.finditer(page.content_string):
            yield _target(place, link["path"])


def _target(place: str, link: str) -> Path:
    """Return the file or folder that a link of a page leads to.

    Raises:
        PluginError: there is none in the repository.
    """
    home = ROOT / place.removeprefix(PLACE) if place.startswith(PLACE) else DOCS / place
    target = (home.parent / link).resolve()
    if not target.exists() or not target.is_relative_to(ROOT):
        raise PluginError(f"{place} links to {link}, which does not exist")
    return target


def _uri(target: Path) -> str:
    """Return where the site has a file of the repository."""
    if target.is_relative_to(DOCS):
        return target.relative_to(DOCS).as_posix()
    return f"{PLACE}{target.relative_to(ROOT).as_posix().removesuffix('.md')}.md"


def _content(target: Path) -> str:
    """Return the page of a file or a folder outside `docs/`."""
    head = f"---\ntitle: {target.name}\nsearch:\n  exclude: true\n---\n\n"
    if target.suffix == ".md":
        return head + target.read_text(encoding="utf-8")
    head += f"# {target.relative_to(ROOT).as_posix()}\n\n"
    if target.is_dir():
        inside = [file for file in sorted(target.rglob("*")) if file.is_file() and file.suffix in SHOWN]
        names = [file.relative_to(target.parent).as_posix() for file in inside]
        return head + "".join(f"- [{name}]({name})\n" for name in names)
    return f"{head}````{SHOWN[target.suffix]}\n{target.read_text(encoding='utf-8')}````\n"

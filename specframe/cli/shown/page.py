"""A generation as one HTML page that needs nothing else: every token, and on a click its draft tree."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from specframe.cli.shown.origins import counted
from specframe.cli.shown.story import ShownToken, Story
from specframe.cli.shown.token_texts import is_part
from specframe.contracts.drafted_pass import DraftedPass
from specframe.contracts.records import check_file_place
from specframe.contracts.report import GenerationReport
from specframe.errors import UsageError

# Further levels are rare, and a bar each would be no picture.
_DEEPEST = 12


def check_page_place(path: Path) -> None:
    """See, before long work, that a page can be made and written.

    Raises:
        UsageError: a library is missing.
        SpecframeError: the file cannot be written.
    """
    if importlib.util.find_spec("jinja2") is None:
        raise UsageError("a page needs jinja2; install with: pip install 'specframe[report]'")
    check_file_place(path)


def page(
    story: Story, report: GenerationReport, *, prompt: str, vocab_size: int, token_text: Callable[[int], str]
) -> str:
    """Return the page.

    Args:
        story: of the generation.
        report: of the generation.
        prompt: as it was typed.
        vocab_size: V of the target.
        token_text: returns what a token says, on its own.
    """
    # Imported late: only a page needs it.
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = _file("page.js")
    counts = counted(token.origin for token in story.tokens)
    return environment.from_string(_file("page.html.j2")).render(
        report=report,
        prompt=prompt,
        vocab_size=vocab_size,
        style=_file("page.css"),
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
        data=_inside_script(_data(story, token_text)),
        tokens=[(at, token, *_text(token, token_text)) for at, token in enumerate(story.tokens)],
        legend=[(origin, counts[origin]) for origin in story.origins.all if counts[origin]],
        accepted=sum(count for origin, count in counts.items() if origin.drafted),
        depths=_depths(report.accept_by_depth or []),
        drafted=any(len(one.nodes) > 1 for one in story.passes),
    )


def _text(token: ShownToken, token_text: Callable[[int], str]) -> tuple[str, str, list[str]]:
    """Return the kind of a token's text, the space before what is coloured, and the lines of the rest."""
    if token.text:
        rest = token.text if token.goes_on else token.text.lstrip(" ") or token.text
        return "", token.text[: len(token.text) - len(rest)], rest.split("\n")
    said = token_text(token.token_id)
    return ("part", "", [""]) if is_part(said) else ("unseen", "", [said])


def _data(story: Story, token_text: Callable[[int], str]) -> dict[str, Any]:
    """Return what the script of the page draws trees of."""
    ids = {node.token_id for one in story.passes for node in one.nodes}
    ids |= {one.next_token for one in story.passes} | {token.token_id for token in story.tokens}
    numbers = {token_id: number for number, token_id in enumerate(sorted(ids))}
    origins = {origin.key: origin for origin in story.origins.all}
    return {
        "origins": {
            key: {"label": origin.label, "meaning": origin.meaning, "drafted": origin.drafted}
            for key, origin in origins.items()
        },
        "ids": list(numbers),
        "texts": [token_text(token_id) for token_id in numbers],
        "tokens": [[numbers[token.token_id], token.origin.key, token.step] for token in story.tokens],
        "passes": [_pass(one, numbers, story) for one in story.passes],
    }


def _pass(one: DraftedPass, numbers: dict[int, int], story: Story) -> dict[str, Any]:
    return {
        "nodes": [
            [
                numbers[node.token_id],
                node.parent,
                node.depth,
                round(node.probability, 4),
                story.origins.of_source(node.source).key,
                int(node.active),
            ]
            for node in one.nodes
        ],
        "path": one.path,
        "emitted": len(one.emitted_ids),
        "next": numbers[one.next_token],
        "nextActive": one.next_active,
        "rejection": one.rejection,
        "active": one.active_size,
        "draft": one.draft,
    }


def _inside_script(data: dict[str, Any]) -> str:
    """Return JSON that can stand inside a script element: nothing in it begins or ends one."""
    text = json.dumps(data, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _depths(shares: Iterable[float]) -> list[float]:
    """Return the share of passes that accepted a token at each depth, without the empty end."""
    kept = [*shares][:_DEEPEST]
    while kept and not kept[-1]:
        kept.pop()
    return kept


def _file(name: str) -> str:
    return resources.files(__package__ or "").joinpath(name).read_text(encoding="utf-8")

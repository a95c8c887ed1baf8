"""The picture of what ``specframe run --show`` and ``--html`` show: text by origin, and one draft tree.

    python benchmarks/show_picture.py --out docs/images/show.svg

It runs the demo model. The picture follows the reader's choice of a light or dark ground, and has no font of
its own: widths are given.
"""

from __future__ import annotations

import argparse
from html import escape
from importlib import resources
from pathlib import Path

from specframe.cli.shown.origins import Origin, Origins
from specframe.cli.shown.story import Span, Story
from specframe.cli.shown.token_texts import TokenTexts
from specframe.config import RunConfig
from specframe.contracts.drafted_pass import DraftedPass
from specframe.contracts.records import write_whole
from specframe.engine.assembly import build_engine
from specframe.model.loading import default_model
from specframe.request.prompts import BUILT_IN_PROMPT
from specframe.request.request import Request

SIGN, LINE, LEFT, WIDTH = 8.4, 24, 24, 780
CHIP, ROW = 26, 34


class Picture:
    """SVG elements, from top to bottom.

    Args:
        top: where the first one stands.
    """

    def __init__(self, top: float) -> None:
        self.top = top
        self._elements: list[str] = []

    def rect(self, x: float, y: float, width: float, height: float, kinds: str) -> None:
        """Draw a box."""
        self._elements.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="4" '
            f'class="{kinds}"/>'
        )

    def text(self, x: float, y: float, said: str, kinds: str = "", sign: float = SIGN) -> float:
        """Write a text whose signs are so wide; return where it ends."""
        width = sign * len(said)
        if said.strip():
            self._elements.append(
                f'<text x="{x:.1f}" y="{y:.1f}" textLength="{width:.1f}" lengthAdjust="spacingAndGlyphs" '
                f'class="{kinds}" xml:space="preserve">{escape(said)}</text>'
            )
        return x + width

    def line(self, d: str, kinds: str) -> None:
        """Draw a path."""
        self._elements.append(f'<path d="{d}" class="{kinds}"/>')

    def token(self, x: float, y: float, said: str, origin: Origin, *, goes_on: bool = False) -> float:
        """Write a token in what it came from, as was the one before if it goes on; return where it ends."""
        blank = len(said) - len(said.lstrip(" ")) if said.strip() and not goes_on else 0
        x, said = x + SIGN * blank, said[blank:]
        width, kind = SIGN * len(said), origin.key
        if kind not in ("first", "recovered", "alone"):
            self.rect(x, y - 16, width, 21, f"{kind} ground")
        if origin.drafted:
            self.line(f"M{x:.1f} {y + 5:.1f}h{width:.1f}", f"{kind} under")
        return self.text(x, y, said, kind)

    def written(self, height: float) -> str:
        """Return the file."""
        palette = resources.files("specframe.cli.shown").joinpath("page.css").read_text(encoding="utf-8")
        style = palette[: palette.index("* {")] + _STYLE
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
            f'height="{height:.0f}" role="img" aria-label="Text whose tokens are coloured by what they came '
            f'from, and the draft tree of one target pass">\n<style>{style}</style>\n'
            f'<rect width="{WIDTH}" height="{height:.0f}" rx="10" class="card"/>\n'
            + "\n".join(self._elements)
            + "\n</svg>\n"
        )


_STYLE = """
text { font: 14px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: var(--ink); }
.small { font-size: 12px; } .muted, text.first { fill: var(--muted); }
.card { fill: var(--ground); stroke: var(--line); }
.drafted.ground { fill: var(--drafted-bg); } .source-0.ground { fill: var(--s0-bg); }
.bonus.ground { fill: var(--bonus-bg); } text.bonus { font-style: italic; }
.outside.ground { fill: var(--outside-bg); stroke: var(--outside); stroke-width: 1.5; }
text.outside { font-weight: 600; }
.under { stroke-width: 2; } .drafted.under { stroke: var(--drafted); }
.source-0.under { stroke: var(--s0); stroke-dasharray: 5 3; }
.chip { fill: var(--card); stroke: var(--line); } .chip.root, .chip.recovered { stroke: var(--ink); }
.edge { fill: none; stroke: var(--line); stroke-width: 1.5; }
.edge.accepted { stroke: var(--ink); stroke-width: 2.2; }
"""


def write_text(picture: Picture, spans: list[Span], lines: int) -> None:
    """Write the first lines of a text."""
    x, y, last = float(LEFT), picture.top, picture.top + (lines - 1) * LINE
    for span in spans:
        for at, piece in enumerate(span.text.split("\n")):
            ends = x + SIGN * len(piece) > WIDTH - LEFT
            if at or ends:
                x, y = float(LEFT), y + LINE
            if y <= last:
                said = piece.lstrip(" ") if ends else piece
                x = picture.token(x, y, said, span.token.origin, goes_on=span.token.goes_on)
    picture.top = min(y, last)


def visible(said: str) -> str:
    """Return what a token says on one line; spaces count where there is nothing else."""
    return said.replace("\n", "↵").strip() or "·" * len(said)


def write_legend(picture: Picture, story: Story) -> None:
    """Write what the colours mean."""
    x = float(LEFT)
    shown = {token.origin for token in story.tokens}
    for origin in story.origins.all:
        if origin in shown and origin.key not in ("first", "alone"):
            x = picture.token(x, picture.top, origin.label, origin) + 22


def write_tree(picture: Picture, one: DraftedPass, origins: Origins, texts: TokenTexts) -> None:
    """Draw a draft tree: the accepted path is the first row, and ends with the target's own token."""
    children: list[list[int]] = [[] for _ in one.nodes]
    for node, said in enumerate(one.nodes):
        if node:
            children[said.parent].append(node)
    path = set(one.path)
    rows: dict[int, int] = {}
    free = 0

    def place(node: int, row: int) -> None:
        nonlocal free
        rows[node] = row
        # The target's own token follows the last accepted node in its row.
        below = sorted(children[node], key=lambda child: (child not in path, -one.nodes[child].probability))
        for at, child in enumerate(below):
            if at or node == one.path[-1]:
                free += 1
            place(child, row if not at and node != one.path[-1] else free)

    place(0, 0)
    last = one.nodes[one.path[-1]]
    said_of = [visible(texts(node.token_id)) for node in one.nodes]
    end = visible(texts(one.next_token))
    origin = origins.of_pass(one)[-1]
    wide = [0.0] * (max(last.depth + 1, *(node.depth for node in one.nodes)) + 1)
    for drafted, name in zip(one.nodes, said_of, strict=True):
        wide[drafted.depth] = max(wide[drafted.depth], 60 + SIGN * len(name))
    wide[last.depth + 1] = max(wide[last.depth + 1], 30 + SIGN * len(end) + 7 * len(origin.label))
    left = [LEFT + sum(wide[:depth]) + 26 * depth for depth in range(len(wide))]
    top = picture.top

    def chip(depth: int, row: int, said: str, note: str, kinds: str) -> None:
        x, y = left[depth], top + row * ROW
        picture.rect(x, y, wide[depth], CHIP, f"chip {kinds}")
        picture.text(x + 9, y + 18, said, kinds.split()[0])
        picture.text(x + wide[depth] - 9 - 7 * len(note), y + 17, note, "small muted", 7)

    def edge(depth: int, above: int, row: int, kinds: str) -> None:
        x, y, y2 = left[depth] + wide[depth], top + above * ROW + 13, top + row * ROW + 13
        bend = "h26" if y == y2 else f"h10V{y2 - 6:.1f}q0 6 6 6h10"
        picture.line(f"M{x:.1f} {y:.1f}{bend}", f"edge {kinds}")

    for node in sorted(range(1, len(one.nodes)), key=lambda node: node in path):
        parent = one.nodes[node].parent
        edge(one.nodes[parent].depth, rows[parent], rows[node], "accepted" if node in path else "")
    edge(last.depth, 0, 0, "accepted")
    chip(0, 0, said_of[0], "", "root")
    for node, said in enumerate(one.nodes[1:], start=1):
        kinds = f"{origins.of_source(said.source).key} ground" if node in path else "muted"
        chip(said.depth, rows[node], said_of[node], f"{said.probability:.0%}", kinds)
    chip(last.depth + 1, 0, end, origin.label, f"{origin.key} ground")
    picture.top = top + (free + 1) * ROW


def best(passes: list[DraftedPass]) -> DraftedPass:
    """Return the pass whose tree shows most and fits: accepted tokens, rejected branches, few levels."""

    def worth(one: DraftedPass) -> tuple[bool, int]:
        deepest = max(node.depth for node in one.nodes)
        rejected = len(one.nodes) - len(one.path)
        return deepest <= 4 and 3 <= rejected <= 9, min(len(one.path) - 1, 3) * 4 + rejected

    return max(passes, key=worth)


def main() -> None:
    """Run the demo model and write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=6)
    arguments = parser.parse_args()
    engine = build_engine(RunConfig(model=default_model(), dtype="float32", costs="off", max_new_tokens=110))
    story = Story(engine.target.tokenizer, Origins(engine.config.drafter, has_head=True))
    request = Request(BUILT_IN_PROMPT, watch_passes=story.note)
    spans = [span for chunk in engine.stream(request) for span in story.add(chunk)]
    picture = Picture(36)
    write_text(picture, spans, arguments.lines)
    picture.top += 40
    write_legend(picture, story)
    picture.top += 28
    picture.line(f"M{LEFT} {picture.top:.0f}H{WIDTH - LEFT}", "edge")
    picture.top += 28
    one = best(story.passes)
    accepted, drafted = len(one.path) - 1, len(one.nodes) - 1
    step = story.passes.index(one) + 1
    said = f"pass {step} of {len(story.passes)}: {drafted} tokens drafted, {accepted} accepted"
    picture.text(LEFT, picture.top, said, "small muted", 7.2)
    picture.top += 16
    write_tree(picture, one, story.origins, TokenTexts(engine.target.tokenizer))
    write_whole(arguments.out, picture.written(picture.top + 12).encode("utf-8"))


if __name__ == "__main__":
    main()

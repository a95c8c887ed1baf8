"""What ``specframe run`` tells of tokens while it streams them, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from specframe.cli.shown.origins import Origins
from specframe.cli.shown.page import page
from specframe.cli.shown.story import Story
from specframe.cli.shown.terminal import Painter, closing_lines, painter
from specframe.cli.shown.token_texts import TokenTexts
from specframe.contracts.drafted_pass import DraftedPass
from specframe.contracts.records import write_whole
from specframe.contracts.report import GenerationReport
from specframe.engine.engine import Engine
from specframe.request.request import Request, WatchPasses


class Telling:
    """One generation, told as was asked for; where nothing was, nothing is recorded.

    Args:
        show: colour tokens by what they came from.
        page: where to write a page; None for none.
    """

    def __init__(self, *, show: bool, page: Path | None) -> None:
        self._paint: Painter | None = painter() if show else None
        self._page = page
        self._story: Story | None = None

    @property
    def watch_passes(self) -> WatchPasses | None:
        """What a request tells its target passes; None where nobody wants to know."""
        return None if self._paint is None and self._page is None else self._note

    def pieces(self, engine: Engine, request: Request) -> Iterator[str]:
        """Yield the text of a generation as it is printed; at the end the page is written.

        Args:
            engine: generates.
            request: has ``watch_passes`` of this telling.

        Raises:
            SpecframeError: the generation failed, or the page cannot be written; none is left then.
        """
        if self.watch_passes is None:
            yield from (chunk.text for chunk in engine.stream(request))
            return
        drafter, name = engine.drafting.drafter, engine.config.drafter
        has_head = drafter is not None and drafter.output_head is not None
        self._story = story = Story(engine.target.tokenizer, Origins(name, has_head=has_head))
        for chunk in engine.stream(request):
            spans = story.add(chunk)
            yield chunk.text if self._paint is None else self._paint.paint(spans)
        if self._paint is not None:
            yield self._paint.end()
        if self._page is not None and engine.report is not None:
            self._write(self._page, story, engine, engine.report, request)

    def closing_lines(self, report: GenerationReport) -> list[str]:
        """Return what follows the text: the legend, and one line that sums up."""
        if self._paint is None or self._story is None:
            return []
        return closing_lines(self._story, report, self._paint)

    def _note(self, passed: DraftedPass) -> None:
        assert self._story is not None
        self._story.note(passed)

    @staticmethod
    def _write(path: Path, story: Story, engine: Engine, report: GenerationReport, request: Request) -> None:
        found = page(
            story,
            report,
            prompt=str(request.prompt),
            vocab_size=engine.target.vocab_size,
            token_text=TokenTexts(engine.target.tokenizer),
        )
        write_whole(path, found.encode("utf-8", errors="replace"))

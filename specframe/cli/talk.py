"""The command ``specframe chat``: a conversation on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from specframe.contracts.report import GenerationReport
from specframe.engine.conversation import Conversation
from specframe.errors import SpecframeError
from specframe.ops.notes import is_quiet

_PROMPT = "> "


def talk(conversation: Conversation) -> None:
    """Answer lines of standard input until they end or one is ``/quit``."""
    for line in _lines():
        if line == "/quit":
            return
        if line == "/new":
            conversation.start_over()
        elif line:
            try:
                _answer(conversation, line)
            except SpecframeError as error:
                if not sys.stdin.isatty():
                    raise
                print(f"specframe: {error}", file=sys.stderr)


def _answer(conversation: Conversation, text: str) -> None:
    """Print an answer as it comes; an interrupt ends it."""
    engine = conversation.engine
    before = engine.report
    chunks = conversation.stream(text)
    try:
        for chunk in chunks:
            print(chunk.text, end="", flush=True)
    except KeyboardInterrupt:
        print(" [interrupted]", end="")
    finally:
        chunks.close()
        print("\n")
    if engine.report is not None and engine.report is not before and not is_quiet():
        print(_summary(engine.report), end="\n\n", file=sys.stderr, flush=True)


def _summary(report: GenerationReport) -> str:
    kept = f", {report.kept_tokens:,} kept" if report.kept_tokens else ""
    line = (
        f"[{report.new_tokens:,} tokens, {report.tokens_per_s:.1f} tokens/s, tau {report.tau:.2f}, "
        f"{report.prompt_tokens:,} prompt tokens{kept}]"
    )
    return line if report.fallback is None else f"{line}\n[went on without drafting: {report.fallback}]"


def _lines() -> Iterator[str]:
    """Yield what is typed, stripped; with line editing where this Python has it."""
    shown = _PROMPT if sys.stdin.isatty() else ""
    if shown:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  # importing it gives input() a history and an editor
    while True:
        try:
            yield input(shown).strip()
        except EOFError:
            return

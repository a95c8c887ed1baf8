"""A generation token by token: what each came from, and which part of the text it is."""

from __future__ import annotations

from collections import deque

import attrs
from transformers import PreTrainedTokenizerBase

from specframe.cli.shown.origins import FIRST, Origin, Origins
from specframe.contracts.drafted_pass import DraftedPass
from specframe.request.output import Chunk
from specframe.request.streaming import TextStream


@attrs.define
class ShownToken:
    """An emitted token.

    Attributes:
        token_id: the token.
        origin: what it came from.
        step: index of its target pass; None for the first token.
        text: what the text shows of it. A token that is a part of a character shows nothing: the last one of
            the character shows it.
        goes_on: the token before came from the same in the same pass.
    """

    token_id: int
    origin: Origin
    step: int | None
    text: str = ""
    goes_on: bool = False


@attrs.frozen(slots=True)
class Span:
    """A piece of text, and the token that it belongs to."""

    text: str
    token: ShownToken


class Story:
    """Collects what an engine says of one request while it streams.

    Args:
        tokenizer: the target's.
        origins: tells what tokens came from.

    Attributes:
        tokens: emitted so far.
        passes: target passes so far.
        origins: as given.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, origins: Origins) -> None:
        self.tokens: list[ShownToken] = []
        self.passes: list[DraftedPass] = []
        self.origins = origins
        self._stream = TextStream(tokenizer)
        # Text that is certain and was not shown yet: a stop string may have begun in it.
        self._waiting: deque[Span] = deque()
        self._noted: DraftedPass | None = None

    def note(self, passed: DraftedPass) -> None:
        """Take what became of a target pass; its chunk follows."""
        self._noted = passed

    def add(self, chunk: Chunk) -> list[Span]:
        """Take a chunk and return its text, token by token."""
        passed, self._noted = self._noted, None
        step, origins = None, [FIRST] * len(chunk.token_ids)
        if passed is not None:
            step, origins = len(self.passes), self.origins.of_pass(passed)
            self.passes.append(passed)
        for token_id, origin in zip(chunk.token_ids, origins, strict=True):
            before = self.tokens[-1] if self.tokens else None
            goes_on = before is not None and (before.origin, before.step) == (origin, step)
            token = ShownToken(token_id, origin, step, goes_on=goes_on)
            self.tokens.append(token)
            piece = self._stream.push([token_id])
            if piece:
                self._waiting.append(Span(piece, token))
        return self._shown(chunk.text)

    def _shown(self, text: str) -> list[Span]:
        """Return the next piece of the text, divided among the tokens that wait for it."""
        spans: list[Span] = []
        while text:
            # At the end there may be more text than is certain: an unfinished character.
            waiting = self._waiting.popleft() if self._waiting else Span(text, self.tokens[-1])
            piece, rest = waiting.text[: len(text)], waiting.text[len(text) :]
            if rest:
                self._waiting.appendleft(Span(rest, waiting.token))
            shown = Span(text[: len(piece)], waiting.token)
            shown.token.text += shown.text
            spans.append(shown)
            text = text[len(piece) :]
        return spans

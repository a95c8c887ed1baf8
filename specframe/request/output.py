"""What one request has emitted so far: its ids and its text, cut where the request ends."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from transformers import PreTrainedTokenizerBase

from specframe.contracts.report import FinishReason
from specframe.request.request import Request
from specframe.request.stop_strings import StopStrings
from specframe.request.streaming import TextStream


@attrs.frozen(slots=True)
class Chunk:
    """What one target pass added to the output.

    Attributes:
        token_ids: the new ids.
        text: the text that is certain now; nothing that comes later removes any of it. It may lag behind the
            ids, by a character that is not finished or a stop string that may have begun.
    """

    token_ids: tuple[int, ...]
    text: str


class Output:
    """Collects emitted tokens until a stop id, a stop string, ``until`` or the length limit.

    The ids end with the token that ended the request. The text ends before it where that was an id, and right
    before the stop string where it was one.

    Args:
        request: says where to end.
        limit: length limit, tokens.
        tokenizer: the target's.
        eos_ids: end every request.
        stop: strings that end every request.

    Attributes:
        limit: length limit, tokens.
        token_ids: all ids so far.
        finish_reason: why the request ended; None while it has not.
    """

    def __init__(
        self,
        request: Request,
        limit: int,
        tokenizer: PreTrainedTokenizerBase,
        eos_ids: frozenset[int],
        stop: Iterable[str] = (),
    ) -> None:
        stops = [*request.stop, *stop]
        special = {str(token): i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.token_ids: list[int] = []
        self.finish_reason: FinishReason | None = None
        self._eos_ids = eos_ids
        self._stop_ids = request.stop_ids | {special[stop] for stop in stops if stop in special}
        self._stops = StopStrings(stop for stop in stops if stop not in special)
        self._until = request.until
        self.limit = limit
        self._stream = TextStream(tokenizer)
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """The text of all chunks so far."""
        return "".join(self._pieces)

    def add(self, emitted: Iterable[int]) -> Chunk:
        """Append emitted ids, up to the one that ends the request, and return what was appended."""
        first, pieces = len(self.token_ids), []
        for token_id in emitted:
            self.token_ids.append(token_id)
            self.finish_reason = self._ends_before(token_id)
            if self.finish_reason is None:
                pieces.append(self._stops.push(self._stream.push([token_id])))
                if self._stops.would_find(self._stream.pending):
                    pieces.append(self._stops.push(self._stream.finish()))
                self.finish_reason = self._ends_after()
            if self.finish_reason is not None:
                pieces += [self._stops.push(self._stream.finish()), self._stops.finish()]
                break
        text = "".join(pieces)
        self._pieces.append(text)
        return Chunk(tuple(self.token_ids[first:]), text)

    def _ends_before(self, token_id: int) -> FinishReason | None:
        """Return why the text ends before a token; None if it does not."""
        if token_id in self._eos_ids:
            return "eos"
        return "stop" if token_id in self._stop_ids else None

    def _ends_after(self) -> FinishReason | None:
        """Return why the request ends after the tokens so far."""
        if self._stops.found or (self._until is not None and self._until(self.token_ids)):
            return "stop"
        return "length" if len(self.token_ids) == self.limit else None

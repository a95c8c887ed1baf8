"""Token ids to text, piece by piece, never in the middle of a character."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextStream:
    """Decodes one generation as it grows; special tokens are left out.

    Args:
        tokenizer: the target's. One without a decoder that can stream decodes everything for every piece.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._backend = backend if isinstance(backend, Tokenizer) else None
        self._tokenizer = tokenizer
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._ids: list[int] = []
        self._length = 0

    def push(self, token_ids: Iterable[int]) -> str:
        """Return the text that ``token_ids`` completes; an unfinished character waits for the next ids."""
        new_ids = [*token_ids]
        self._ids += new_ids
        if self._backend is None:
            text = self._decoded().rstrip("\ufffd")[self._length :]
        else:
            text = "".join(self._decoder.step(self._backend, token_id) or "" for token_id in new_ids)
        self._length += len(text)
        return text

    def finish(self) -> str:
        """Return the text still held back, such as a character that was never finished."""
        return self._decoded()[self._length :]

    def _decoded(self) -> str:
        if self._backend is None:
            return str(self._tokenizer.decode(self._ids, skip_special_tokens=True))
        return self._backend.decode(self._ids, skip_special_tokens=True)

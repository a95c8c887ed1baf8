"""Token ids to text, piece by piece, never in the middle of a character."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from specframe.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextStream:
    """Decodes one generation as it grows; special tokens are left out.

    Args:
        tokenizer: the target's.

    Raises:
        UsageError: the tokenizer has no decoder that can stream.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise UsageError("this tokenizer cannot stream text; allowed: --json, which prints it at the end")
        self._tokenizer = backend
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._ids: list[int] = []
        self._length = 0

    def push(self, token_ids: Iterable[int]) -> str:
        """Return the text that ``token_ids`` completes; an unfinished character waits for the next ids."""
        pieces = []
        for token_id in token_ids:
            self._ids.append(token_id)
            pieces.append(self._decoder.step(self._tokenizer, token_id) or "")
        text = "".join(pieces)
        self._length += len(text)
        return text

    def finish(self) -> str:
        """Return the text still held back, such as a character that was never finished."""
        return self._tokenizer.decode(self._ids, skip_special_tokens=True)[self._length :]

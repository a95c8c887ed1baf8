"""Token ids to text, piece by piece: what was shown is never taken back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# An unfinished character decodes to this.
_BROKEN = "\ufffd"
# Tokens of single bytes (byte fallback): decoders look at a run of them as a whole.
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
# Tokenizers that clean up spaces take one away once they see what follows: `` n't`` is the longest.
_CLEANED_UP = re.compile(r" [^ ]{0,2} ?$")
# Tokens that are decoded at once; the last of them are kept when there are more, as what comes before a token
# can decide whether it begins with a space.
_MOST, _KEPT = 96, 16


class TextStream:
    """Decodes one generation as it grows; special tokens are left out.

    All pieces together are what the tokenizer decodes from all ids.

    Args:
        tokenizer: the target's; nothing but its ``decode`` and ``convert_ids_to_tokens`` is called, and its
            special tokens are looked at.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer: Any = tokenizer
        self._cleans_up = bool(getattr(tokenizer, "clean_up_tokenization_spaces", False))
        self._ids: list[int] = []
        self._window: list[int] = []
        self._text = ""  # of the window
        self._shown = 0  # characters of it
        self._pieces: list[str] = []

    @property
    def pending(self) -> str:
        """The text that is held back, as it would be if nothing more came."""
        return self._text[self._shown :]

    def push(self, token_ids: Iterable[int]) -> str:
        """Return the text that ``token_ids`` completes; what the next ids may change waits for them."""
        new_ids = [*token_ids]
        self._ids += new_ids
        self._window += new_ids
        self._text = self._decoded(self._window)
        certain = self._certain()
        piece = self._text[self._shown : certain]
        self._shown = max(self._shown, certain)
        self._pieces.append(piece)
        if len(self._window) > _MOST and not self.pending:
            self._move()
        return piece

    def finish(self) -> str:
        """Return the text still held back, such as a character that was never finished."""
        shown, text = "".join(self._pieces), self._decoded(self._ids)
        piece = text[len(shown) :] if text.startswith(shown) else self.pending
        self._shown = len(self._text)
        self._pieces.append(piece)
        return piece

    def _certain(self) -> int:
        """Return how many characters of the window's text no later token can change."""
        run = 0
        for before, token_id in enumerate(reversed(self._window)):
            if self._is_byte(token_id):
                run = before + 1
            # One that is left out does not end a run of bytes.
            elif token_id not in self._special_ids:
                break
        text = self._decoded(self._window[:-run]) if run else self._text
        text = text.rstrip(_BROKEN)
        if self._cleans_up:
            text = _CLEANED_UP.sub("", text)
        return len(text)

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        """Ids that are left out."""
        added = getattr(self._tokenizer, "added_tokens_decoder", {})
        return frozenset(token_id for token_id, token in added.items() if token.special)

    def _is_byte(self, token_id: int) -> bool:
        token = self._tokenizer.convert_ids_to_tokens(token_id)
        return isinstance(token, str) and _BYTE.fullmatch(token) is not None

    def _move(self) -> None:
        """Begin a new window with the last tokens, all of whose text has been shown."""
        window = self._window[-_KEPT:]
        text = self._decoded(window)
        if self._text.endswith(text.lstrip()) and text.strip():
            self._window, self._text, self._shown = window, text, len(text)

    def _decoded(self, token_ids: list[int]) -> str:
        return str(self._tokenizer.decode(token_ids, skip_special_tokens=True))

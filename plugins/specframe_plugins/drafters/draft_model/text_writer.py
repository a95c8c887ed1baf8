"""Parts of a text in the tokens of a tokenizer, as they stand in the middle of a text."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerBase

from specframe_plugins.drafters.draft_model.token_bytes import TokenBytes


class TextWriter:
    """Writes bytes in the tokens of a tokenizer.

    Args:
        tokenizer: whose tokens to write.
        token_bytes: what they stand for.

    Attributes:
        prefix: ids that the tokenizer puts before a text, such as BOS.
        adds_space: it writes a text that begins with no space as if one stood before it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, token_bytes: TokenBytes) -> None:
        self._tokenizer: Any = tokenizer
        self._bytes = token_bytes
        plain = self._encoded("a")
        self.adds_space = token_bytes.join(plain) == b" a"
        whole: list[int] = self._tokenizer("a")["input_ids"]
        starts = (at for at in range(len(whole)) if whole[at : at + len(plain)] == plain)
        self.prefix = tuple(whole[: next(starts, 0)])

    def write(self, text: bytes, *, begins: bool = False) -> tuple[int, ...]:
        """Return the tokens of a part of a text.

        Bytes that are no whole character become tokens of single bytes, where there are such.

        Args:
            text: the part.
            begins: nothing stands before it.
        """
        ids: list[int] = []
        while text:
            try:
                characters, rest = text.decode(), b""
            except UnicodeDecodeError as error:
                characters, rest = text[: error.start].decode(), text[error.start :]
            if characters:
                ids += self._encoded(characters) if begins else self._inside(characters)
            if rest[:1] in self._bytes.id_of:
                ids.append(self._bytes.id_of[rest[:1]])
            text, begins = rest[1:], False
        return tuple(ids)

    def _inside(self, text: str) -> list[int]:
        """Return the tokens of whole characters that follow others."""
        if self.adds_space and text[0] == " " and not text[1:2].isspace() and len(text) > 1:
            return self._encoded(text[1:])
        if self.adds_space:
            before, ids = self._encoded("\n"), self._encoded("\n" + text)
            if ids[: len(before)] == before:
                return ids[len(before) :]
        return self._encoded(text)

    def _encoded(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

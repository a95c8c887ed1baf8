"""What a single token says, for people: also where it is a part of a character."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from transformers import PreTrainedTokenizerBase

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class TokenTexts:
    """Returns texts of tokens.

    Args:
        tokenizer: the target's.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer: Any = tokenizer

    def __call__(self, token_id: int) -> str:
        r"""Return what a token says; bytes of a character as ``\xE4``, a token without text by its name."""
        name = self._tokenizer.convert_ids_to_tokens(token_id)
        if name is None:
            return f"<{token_id}>"
        name = str(name)
        byte = _BYTE.fullmatch(name)
        if byte:
            return f"\\x{byte[1].upper()}"
        text = str(self._tokenizer.decode([token_id], skip_special_tokens=False))
        # Tokenizers of this kind leave the space before the first word out.
        if name.startswith("\u2581") and not text.startswith(" "):
            text = f" {text}"
        if "\ufffd" in text and "\ufffd" not in name:
            return _bytes_of(name)
        return text or name


def is_part(said: str) -> bool:
    """Return whether a token, given what it says, is a part of a character."""
    return said.startswith("\\x") or "\ufffd" in said


def _bytes_of(name: str) -> str:
    """Return the bytes that a name of byte-level BPE stands for; the name where it is none of these."""
    table = _byte_of()
    if not all(sign in table for sign in name):
        return name
    return "".join(f"\\x{table[sign]:02X}" for sign in name)


@cache
def _byte_of() -> dict[str, int]:
    """Return the bytes by the signs that byte-level BPE writes them with."""
    # Imported late: only tokens that are parts of characters need it.
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {sign: byte for byte, sign in bytes_to_unicode().items()}

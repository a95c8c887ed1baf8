"""Which bytes each token stands for in the middle of a text, whatever its tokenizer writes for them.

Byte-level tokenizers write a letter for each byte, those of SentencePiece ``▁`` for a space and ``<0x0A>``
for a byte, and others have tokens without the spaces that they split a text at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import attrs
from transformers import PreTrainedTokenizerBase

_SPACE = "▁"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
# What a decoder writes for bytes that are no character.
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"


@attrs.frozen(slots=True, eq=False)
class TokenBytes:
    """The bytes of every token of a tokenizer.

    Attributes:
        of: by id. A special token stands for what it is written as.
        special: ids of the tokens that structure a text and are no part of it.
        id_of: ids by bytes, special tokens aside. Of several it is the one that the tokenizer writes: not a
            token for a byte where another one stands for the same character.
    """

    of: Mapping[int, bytes]
    special: frozenset[int]
    id_of: Mapping[bytes, int]

    @classmethod
    def read(cls, tokenizer: PreTrainedTokenizerBase) -> TokenBytes:
        """Return the bytes of a tokenizer's tokens; one that is no text by itself is left out."""
        tokens = {token_id: token for token, token_id in sorted(tokenizer.get_vocab().items(), reverse=True)}
        special = frozenset(i for i, token in tokenizer.added_tokens_decoder.items() if token.special)
        steps = _decoder_steps(tokenizer)
        fallback: dict[int, bytes] = {}
        if "ByteLevel" in steps:
            of = {token_id: _byte_level(token) for token_id, token in tokens.items()}
        elif steps & {"ByteFallback", "Metaspace", "Replace"}:
            of = {token_id: token.replace(_SPACE, " ").encode() for token_id, token in tokens.items()}
            if "ByteFallback" in steps:
                matches = ((token_id, _BYTE.fullmatch(token)) for token_id, token in tokens.items())
                fallback = {token_id: bytes.fromhex(match[1]) for token_id, match in matches if match}
        else:
            of = _decoded(tokenizer, tokens)
        of |= fallback | {token_id: tokens[token_id].encode() for token_id in special if token_id in tokens}
        preferred = sorted(
            (i for i in of if i not in special), key=lambda i: (i in fallback, i), reverse=True
        )
        return cls(of, special, {of[token_id]: token_id for token_id in preferred if of[token_id]})

    def join(self, token_ids: Iterable[int]) -> bytes:
        """Return the bytes of tokens one after the other."""
        return b"".join(self.of.get(token_id, b"") for token_id in token_ids)


def _decoder_steps(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """Return what turns the tokens of a tokenizer into text, by the names that its file has for it."""
    decoder: Any = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    if decoder is None:
        return set()
    state = json.loads(decoder.__getstate__())
    return {step["type"] for step in state.get("decoders", [state])}


@cache
def _letters() -> dict[str, int]:
    """Return the byte of every letter of byte-level tokens (GPT-2): what can be printed is itself."""
    printed = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(256 + at): byte for at, byte in enumerate(others)}


def _byte_level(token: str) -> bytes:
    letters = _letters()
    try:
        return bytes([letters[letter] for letter in token])
    except KeyError:  # an added token, which is written as it is
        return token.encode()


def _decoded(tokenizer: PreTrainedTokenizerBase, tokens: Mapping[int, str]) -> dict[int, bytes]:
    """Return what each token adds to a text, as far as that is whole characters."""
    words = (token_id for token_id, token in sorted(tokens.items()) if token.isascii() and token.isalnum())
    first = next(words, min(tokens, default=0))
    beginning, of = tokenizer.decode([first]), {}
    for token_id in tokens:
        text: Any = tokenizer.decode([first, token_id], clean_up_tokenization_spaces=False)
        if text.startswith(beginning) and _UNKNOWN not in text:
            of[token_id] = text[len(beginning) :].encode()
    return of

"""How often each token occurs: from a file, from text, or as shipped for a tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open

from specframe.errors import UsageError
from specframe.registry.components import BuildContext
from specframe.registry.shipped import ShippedData, ShippedFile
from specframe.vocabulary.token_maps.frequencies import TokenFrequencies
from specframe.vocabulary.token_maps.reading import FINGERPRINT, read_map
from specframe.vocabulary.token_maps.text import token_ids_of

if TYPE_CHECKING:
    from specframe.model.target import Target

SHIPPED_NAME = "token_frequencies.safetensors"


def token_frequencies(context: BuildContext, frequencies: Path | None, text: Path | None) -> TokenFrequencies:
    """Return the frequencies a user asked for, or else those shipped for the target's tokenizer.

    Args:
        context: the target whose tokens are counted, and what ships.
        frequencies: a map of any form that ``read_map`` knows.
        text: UTF-8 text to count with the target's tokenizer.

    Raises:
        UsageError: both are given, neither is and nothing is shipped, or a file does not fit the target.
    """
    if frequencies is not None and text is not None:
        raise UsageError("both frequencies and text are given; allowed: one of them")
    if text is not None:
        return TokenFrequencies.counted(token_ids_of(context.target.tokenizer, text), str(text))
    if frequencies is not None:
        return read_map(frequencies, context.target)
    shipped = shipped_frequencies(context.target, context.data)
    if shipped is None:
        raise UsageError(
            f"no token frequencies are shipped for the tokenizer of {context.target.name}; give "
            "-o vocabulary.frequencies=FILE, or -o vocabulary.text=FILE to count a text"
        )
    return shipped


def find_shipped(target: Target, data: ShippedData) -> ShippedFile | None:
    """Return the shipped file with the fingerprint of the target's tokenizer.

    Raises:
        PluginError: a file is broken, or two fit.
    """

    def fits(path: Path) -> bool:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get(FINGERPRINT) == target.tokenizer_fingerprint

    return data.find(SHIPPED_NAME, fits)


def shipped_frequencies(target: Target, data: ShippedData) -> TokenFrequencies | None:
    """Return the frequencies that ship for the target's tokenizer; raises as ``find_shipped`` does."""
    file = find_shipped(target, data)
    return file.load(lambda path: read_map(path, target)) if file else None

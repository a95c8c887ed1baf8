"""How often each token occurs, from a file, from text, or as shipped for a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from specframe.errors import UsageError
from specframe.registry.components import BuildContext
from specframe.registry.shipped import ShippedData, ShippedFile

if TYPE_CHECKING:
    from specframe.model.target import Target

SHIPPED_NAME = "token_frequencies.safetensors"


@attrs.frozen(slots=True, eq=False)
class TokenFrequencies:
    """Tokens by falling frequency.

    Attributes:
        token_ids: n distinct ids, the most frequent first [n] int64.
        counts: how often each occurs [n] int64; None where only the order is known.
        source: what was counted, for people.
    """

    token_ids: Tensor
    counts: Tensor | None
    source: str


def token_frequencies(context: BuildContext, frequencies: Path | None, text: Path | None) -> TokenFrequencies:
    """Return the frequencies a user asked for, or else those shipped for the target's tokenizer.

    Args:
        context: the target whose tokens are counted, and what ships.
        frequencies: ``.safetensors`` as described at ``read_frequencies``, or JSON: an object of id to
            count, or a list of ids by falling frequency.
        text: UTF-8 text to count with the target's tokenizer.

    Raises:
        UsageError: both are given, neither is and nothing is shipped, or a file does not fit the target.
    """
    if frequencies is not None and text is not None:
        raise UsageError("both frequencies and text are given; allowed: one of them")
    if text is not None:
        return _count(context.target, text)
    if frequencies is not None:
        return read_frequencies(frequencies, context.target)
    shipped = shipped_frequencies(context.target, context.data)
    if shipped is None:
        raise UsageError(
            f"no token frequencies are shipped for the tokenizer of {context.target.name}; give "
            "-o vocabulary.frequencies=FILE, or -o vocabulary.text=FILE to count a text"
        )
    return shipped


def read_frequencies(path: Path, target: Target) -> TokenFrequencies:
    """Return the frequencies in a file, checked against the target.

    A safetensors file holds ``token_ids`` [n] int32 by falling count and ``counts`` [n] int64, and the
    metadata ``tokenizer_fingerprint`` and ``source``. JSON has no fingerprint; only the range is checked.

    Raises:
        UsageError: the file cannot be read, or was counted with another tokenizer.
    """
    try:
        if path.suffix == ".json":
            found = _from_json(json.loads(path.read_text(encoding="utf-8")), str(path))
        else:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                token_ids, counts = file.get_tensor("token_ids").long(), file.get_tensor("counts").long()
            fingerprint = metadata.get("tokenizer_fingerprint")
            if fingerprint != target.tokenizer_fingerprint:
                raise UsageError(
                    f"{path} was counted with tokenizer {fingerprint}, but {target.name} has tokenizer "
                    f"{target.tokenizer_fingerprint}"
                )
            found = TokenFrequencies(token_ids, counts, metadata.get("source", str(path)))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, TypeError, OverflowError, RuntimeError, SafetensorError) as error:
        raise UsageError(
            f"{path} holds no token frequencies ({error}); allowed: safetensors with token_ids and counts, a "
            "JSON object of id to count, a JSON list of ids by falling frequency"
        ) from None
    _check(found, path, target.vocab_size)
    return found


def _from_json(content: object, source: str) -> TokenFrequencies:
    if isinstance(content, dict):
        return _by_falling_count(
            _integers([int(token_id) for token_id in content]), _integers(list(content.values())), source
        )
    if isinstance(content, list):
        return TokenFrequencies(_integers(content), None, source)
    raise TypeError("neither an object nor a list")


def _integers(values: list[object]) -> Tensor:
    strange = next((value for value in values if type(value) is not int), None)
    if strange is not None:
        raise TypeError(f"{strange!r} is not a whole number")
    return torch.tensor(values, dtype=torch.int64)


def _check(found: TokenFrequencies, path: Path, vocab_size: int) -> None:
    ids = found.token_ids
    if ids.ndim != 1 or len(ids) == 0:
        raise UsageError(f"{path} lists no tokens; allowed: a flat list with at least one id")
    if found.counts is not None and found.counts.shape != ids.shape:
        raise UsageError(f"{path} has {len(found.counts)} counts for {len(ids)} ids")
    if found.counts is not None and (int(found.counts[-1]) < 0 or bool((found.counts.diff() > 0).any())):
        raise UsageError(f"{path} has negative or rising counts; allowed: falling counts from 0")
    if found.counts is not None and int(found.counts[0]) == 0:
        raise UsageError(f"{path} counted nothing: every count is 0")
    if not 0 <= int(ids.min()) <= int(ids.max()) < vocab_size:
        raise UsageError(
            f"{path} has ids from {int(ids.min())} to {int(ids.max())}; allowed: 0 to {vocab_size - 1}"
        )
    if len(torch.unique(ids)) < len(ids):
        raise UsageError(f"{path} lists an id twice")


def _count(target: Target, text: Path) -> TokenFrequencies:
    try:
        content = text.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {text}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{text} is not UTF-8 text: {error.reason}") from None
    # verbose=False: that the text is longer than the model's context is no reason to warn here.
    ids = torch.tensor(
        target.tokenizer(content, add_special_tokens=False, verbose=False)["input_ids"], dtype=torch.int64
    )
    if len(ids) == 0:
        raise UsageError(f"{text} has no tokens to count")
    token_ids, counts = torch.unique(ids, return_counts=True)
    return _by_falling_count(token_ids, counts, str(text))


def _by_falling_count(token_ids: Tensor, counts: Tensor, source: str) -> TokenFrequencies:
    """Sort by falling count, equal counts by rising id, so that the order never depends on the input's."""
    token_ids, order = token_ids.sort()
    counts, by_count = counts[order].sort(descending=True, stable=True)
    return TokenFrequencies(token_ids[by_count], counts, source)


def find_shipped(target: Target, data: ShippedData) -> ShippedFile | None:
    """Return the shipped file with the fingerprint of the target's tokenizer.

    Raises:
        PluginError: a file is broken, or two fit.
    """

    def fits(path: Path) -> bool:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("tokenizer_fingerprint") == target.tokenizer_fingerprint

    return data.find(SHIPPED_NAME, fits)


def shipped_frequencies(target: Target, data: ShippedData) -> TokenFrequencies | None:
    """Return the frequencies that ship for the target's tokenizer; raises as ``find_shipped`` does."""
    file = find_shipped(target, data)
    return file.load(lambda path: read_frequencies(path, target)) if file else None

"""Token maps as files: this project's, FR-Spec's and SGLang's, EAGLE-3's."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save as to_safetensors

from specframe.contracts.records import write_whole
from specframe.errors import UsageError
from specframe.vocabulary.token_maps.frequencies import Owner, TokenFrequencies
from specframe.vocabulary.token_maps.reading import (
    COUNTS,
    FINGERPRINT,
    HAS_ROW,
    OFFSETS,
    SOURCE,
    TOKEN_IDS,
)

# How a map is written: our frequencies, JSON, the index list of FR-Spec and SGLang, EAGLE-3's d2t and t2d.
Form = Literal["safetensors", "json", "pt", "d2t"]

_BY_SUFFIX: dict[str, Form] = {".safetensors": "safetensors", ".json": "json", ".pt": "pt"}


def form_of(path: Path, form: Form | None) -> Form:
    """Return the form that was asked for, or that the name of a file says.

    Raises:
        UsageError: neither says it.
    """
    found = form or _BY_SUFFIX.get(path.suffix)
    if found is None:
        raise UsageError(
            f"{path} does not say what to write; allowed: a name that ends in {', '.join(_BY_SUFFIX)}, or "
            "--form safetensors|json|pt|d2t"
        )
    return found


def write_map(path: Path, frequencies: TokenFrequencies, owner: Owner, form: Form) -> None:
    """Write a map, whole or not at all.

    The ids of ``pt`` are a list, as SGLang's ``load_token_map`` and FR-Spec read it with
    ``weights_only=True``; their order is that of the rows of the drafter's LM head. The rows of ``d2t`` are
    in order of id, as EAGLE-3's are. Only ``safetensors`` and ``json`` keep counts.

    Args:
        path: of the file; it must be new.
        frequencies: the map.
        owner: whose tokens it is about.
        form: how.

    Raises:
        UsageError: the file exists.
        SpecframeError: it cannot be written.
    """
    if path.exists():
        raise UsageError(f"{path} exists; allowed: a new file")
    write_whole(path, _content(frequencies, owner, form))


def _content(frequencies: TokenFrequencies, owner: Owner, form: Form) -> bytes:
    ids, counts = frequencies.token_ids, frequencies.counts
    metadata = {FINGERPRINT: owner.tokenizer_fingerprint, SOURCE: frequencies.source}
    if form == "pt":
        file = io.BytesIO()
        torch.save(ids.tolist(), file)
        return file.getvalue()
    if form == "json":
        listed = ids.tolist()
        values = listed if counts is None else dict(zip(listed, counts.tolist(), strict=True))
        return json.dumps(values).encode()
    if form == "d2t":
        rising = ids.sort().values
        has_row = torch.zeros(owner.vocab_size, dtype=torch.bool)
        has_row[rising] = True
        return to_safetensors({OFFSETS: rising - torch.arange(len(rising)), HAS_ROW: has_row}, metadata)
    tensors = {TOKEN_IDS: ids.to(torch.int32)}
    return to_safetensors(tensors if counts is None else {**tensors, COUNTS: counts}, metadata)

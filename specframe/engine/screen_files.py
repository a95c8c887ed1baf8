"""What screens keep in the cache folder: safetensors files that say which LM head and states they are of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from safetensors.torch import save as to_bytes
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.records import keep_whole
from specframe.contracts.screen import StateSource
from specframe.engine.draft_states import head_digest
from specframe.errors import UsageError
from specframe.model.loading import cache_directory

_KIND, _HEAD, _STATES, _ROWS, _COLUMNS = "screen", "head", "states", "rows", "columns"


@attrs.frozen(slots=True)
class ScreenFile:
    """What a file of a screen says about itself.

    Attributes:
        path: of the file.
        kind: what it holds.
        head: digest of the LM head that it was made for.
        states: key of the hidden states that it was fitted to.
        rows: V, of that LM head.
        columns: H, likewise; no rank is above it.
        size: bytes.
    """

    path: Path
    kind: str
    head: str
    states: str
    rows: int
    columns: int
    size: int


def screen_path(kind: str, states: StateSource) -> Path:
    """Return where what was fitted to some states is kept."""
    return cache_directory() / "screens" / f"{kind}-{states.key}.safetensors"


def keep_screen(kind: str, head: OutputHead, states: StateSource, tensors: Mapping[str, Tensor]) -> None:
    """Keep what was fitted, where the cache can be written; states without a key leave nothing.

    Args:
        kind: what it is, a word.
        head: what it was made for.
        states: what it was fitted to.
        tensors: by name.
    """
    if not states.key:
        return
    about = {
        _KIND: kind,
        _HEAD: head_digest(head),
        _STATES: states.key,
        _ROWS: str(head.vocab_size),
        _COLUMNS: str(head.hidden_size),
    }
    keep_whole(
        screen_path(kind, states), to_bytes({name: one.contiguous() for name, one in tensors.items()}, about)
    )


def kept_screens(states: StateSource) -> list[ScreenFile]:
    """Return the files of all that was fitted to some states."""
    files = sorted((cache_directory() / "screens").glob(f"*-{states.key}.safetensors"))
    return [found for found in map(read_about, files) if found is not None and found.states == states.key]


def is_made_for(path: Path, head: OutputHead) -> bool:
    """Return whether a file holds a whole screen of an LM head."""
    try:
        found = read_about(path)
    except UsageError:
        return False
    return found is not None and found.head == head_digest(head)


def read_about(path: Path) -> ScreenFile | None:
    """Return what a file says about itself; None where it is no screen's.

    Raises:
        UsageError: it is a screen's, and cut off.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(length)) if length < path.stat().st_size else {}
        about = header.pop("__metadata__")
        found = ScreenFile(
            path,
            kind=about[_KIND],
            head=about[_HEAD],
            states=about[_STATES],
            rows=int(about[_ROWS]),
            columns=int(about[_COLUMNS]),
            size=path.stat().st_size,
        )
        whole = 8 + length + max(one["data_offsets"][1] for one in header.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if found.size != whole:
        raise UsageError(
            f"{path} is cut off: {found.size:,} of {whole:,} bytes are there; it is made again by: specframe "
            "vocab screen"
        )
    return found

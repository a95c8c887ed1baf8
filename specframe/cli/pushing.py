"""A trained checkpoint as a model of the hub, its card among its files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from specframe.errors import SpecframeError, UsageError, one_line
from specframe.ops.notes import is_quiet

_HUB_ID: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def open_repository(name: str) -> None:
    """Make the repository, unless it is there; so that what is refused is refused before a training.

    Raises:
        UsageError: the name is none of a repository.
        SpecframeError: the hub cannot be reached, or does not let this user write there.
    """
    if not _HUB_ID.fullmatch(name):
        raise UsageError(f"--push {name!r} names no repository; allowed: OWNER/NAME")
    from huggingface_hub import HfApi

    with _saying(name):
        HfApi().create_repo(name, exist_ok=True)


def push(checkpoint: Path, name: str) -> str:
    """Upload everything in the directory of a checkpoint; return where it then is.

    Raises:
        SpecframeError: the hub refuses, or cannot be reached; the checkpoint stays where it is.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if is_quiet():
        disable_progress_bars()
    with _saying(name):
        return str(
            HfApi().upload_folder(
                repo_id=name, folder_path=checkpoint, commit_message="Head trained with specframe"
            )
        )


@contextmanager
def _saying(name: str) -> Iterator[None]:
    """Say in one line what the hub answers, whatever its client raises."""
    try:
        yield
    except Exception as error:  # errors of the hub, of HTTP, of the network
        raise SpecframeError(f"{name} cannot be written to on the hub: {one_line(error)}") from None

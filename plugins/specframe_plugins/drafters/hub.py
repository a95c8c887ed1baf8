"""Heads that are named by a hub id: their config and safetensors, and nothing that has to be unpickled."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from specframe.errors import CheckpointError, one_line
from specframe_plugins.drafters.checkpoint_files import CONFIG

_HUB_ID: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_WANTED: Final = (CONFIG, "*.safetensors", "*.safetensors.index.json")
# Of the one question whether the hub answers, in seconds: downloads would retry for most of a minute.
_PATIENCE: Final = 10.0


def local_folder(checkpoint: Path) -> Path:
    """Return the directory of a checkpoint; one that is named by a hub id is fetched, or found in the cache.

    A directory of that name goes first.

    Raises:
        CheckpointError: the hub has no such model and the cache neither, or it holds no safetensors.
    """
    name = checkpoint.as_posix()
    if checkpoint.exists() or not _HUB_ID.fullmatch(name):
        return checkpoint
    # Imported here since it takes long, and most heads lie on disk.
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        HfApi().model_info(name, timeout=_PATIENCE)
        reachable = True
    except RepositoryNotFoundError:
        raise CheckpointError(
            f"{name} is neither a directory nor a model of the hub; allowed: a directory, or a hub id"
        ) from None
    except Exception:  # whatever goes wrong on the way, the cache is asked next
        reachable = False
    try:
        folder = Path(snapshot_download(name, allow_patterns=list(_WANTED), local_files_only=not reachable))
    except LocalEntryNotFoundError:
        raise CheckpointError(
            f"{name} is no directory, the hub cannot be reached, and its cache has no such head; allowed: a "
            "directory, or a hub id"
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise CheckpointError(f"{name} cannot be fetched from the hub: {one_line(error)}") from None
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(f"{name} of the hub holds no safetensors; allowed: heads as safetensors")
    return folder

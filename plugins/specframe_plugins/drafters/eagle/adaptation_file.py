"""What an EAGLE head has learnt in use, in a file: one for each head, complete or not at all."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from specframe.contracts.records import check_file_place, keep_whole
from specframe.errors import CheckpointError
from specframe_plugins.drafters.checkpoint_files import check_tensors, first_line

_FORMAT, _VERSION = "specframe-eagle-adaptation", "1"
_log = logging.getLogger(__name__)


def fingerprint_of(head: nn.Module) -> str:
    """Return a hash of a head's weights: what it learnt is of no use to another one."""
    digest = hashlib.sha256()
    for name, tensor in sorted(head.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class AdaptationFile:
    """The ``Store`` of one head, in one safetensors file.

    Args:
        path: of the file; it need not exist yet.
        head: whose predictions were corrected.
        size: H.

    Raises:
        SpecframeError: the file could not be written.
    """

    def __init__(self, path: Path, head: nn.Module, size: int) -> None:
        check_file_place(path)
        self._path, self._size = path, size
        self._about = {"format": _FORMAT, "version": _VERSION, "head": fingerprint_of(head)}

    def read(self) -> tuple[Tensor, Tensor] | None:
        """Return keys and values, the oldest first, each [n, H]; None where there is no file.

        Raises:
            CheckpointError: the file is corrupt, something else, or another head's.
        """
        if not self._path.exists():
            return None
        try:
            with safe_open(self._path, framework="pt") as opened:
                about = opened.metadata() or {}
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # no dict
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{self._path} is corrupt: {first_line(error)}") from None
        for key, what in (
            ("format", "holds nothing that a head learnt"),
            ("version", "is of another version"),
        ):
            if about.get(key) != self._about[key]:
                raise CheckpointError(
                    f"{self._path} {what}; allowed: a new file, or one that adapt_file wrote"
                )
        if about.get("head") != self._about["head"]:
            raise CheckpointError(
                f"{self._path} was learnt by another head; allowed: a new file, or one of this head's"
            )
        rows = len(tensors["keys"]) if "keys" in tensors and tensors["keys"].ndim else 0
        check_tensors(dict.fromkeys(("keys", "values"), (rows, self._size)), tensors, self._path)
        return tensors["keys"], tensors["values"]

    def write(self, keys: Tensor, values: Tensor) -> None:
        """Write keys and values, each [n, H]; where that fails, a warning says so, and the file stays."""
        content = save({"keys": keys.cpu().contiguous(), "values": values.cpu().contiguous()}, self._about)
        if not keep_whole(self._path, content):
            _log.warning("cannot write %s; what the head learnt is lost with this process", self._path)

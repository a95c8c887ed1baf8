"""Checkpoints on disk, whatever the drafter: ``config.json`` beside the tensors, complete or not at all."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from specframe.errors import CheckpointError, UsageError
from specframe.registry.placement import name_of

if TYPE_CHECKING:
    from specframe.model.target import Target

Module = TypeVar("Module", bound=nn.Module)

CONFIG: Final = "config.json"
_SAFETENSORS, _BIN = "model.safetensors", "pytorch_model.bin"
_FLOATS: Final = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
# Safetensors first: those of a hub are fetched, and what else lies there is of no concern.
_WEIGHTS = (_SAFETENSORS, f"{_SAFETENSORS}.index.json", _BIN, f"{_BIN}.index.json")


@attrs.frozen
class Layout:
    """A layout of this project's: what ``config.json`` calls it, its version, and the class of its fields."""

    name: str
    version: int
    config: type[Any]

    def describes(self, settings: Mapping[str, Any]) -> bool:
        """Return whether a ``config.json`` is of this layout."""
        return settings.get("format") == self.name

    def is_at(self, path: Path) -> bool:
        """Return whether a directory holds a head of this layout."""
        return _is_at(path, self.describes)

    def read(self, settings: Mapping[str, Any], path: Path) -> Any:
        """Return the fields of a ``config.json`` as an instance of the class.

        Raises:
            CheckpointError: it is of another version of the layout, or does not describe a head.
        """
        found = settings.get("format_version")
        if found != self.version:
            raise CheckpointError(
                f"{path / CONFIG} has format_version {found}; this version of specframe reads {self.version}"
            )
        fields = {name: value for name, value in settings.items() if name not in ("format", "format_version")}
        try:
            return self.config(**fields)
        except TypeError as error:
            raise CheckpointError(f"{path / CONFIG} does not describe a head: {first_line(error)}") from None

    def write(self, path: Path, config: Any, tensors: Mapping[str, Tensor]) -> None:
        """Write a head to the directory ``path``, complete or not at all; a head that is there is replaced.

        Raises:
            UsageError: ``path`` exists and is something else than a head of this project.
        """
        settings = {"format": self.name, "format_version": self.version, **attrs.asdict(config)}
        write_checkpoint(path, settings, tensors, self.describes, "head of this project")


def write_checkpoint(
    path: Path,
    settings: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    may_replace: Callable[[Mapping[str, Any]], bool],
    what: str,
) -> None:
    """Write a checkpoint to the directory ``path``, complete or not at all.

    Args:
        path: what is there already is replaced if it is of the same kind.
        settings: content of ``config.json``.
        tensors: by name.
        may_replace: whether a ``config.json`` is of that kind.
        what: the kind, for errors.

    Raises:
        UsageError: ``path`` exists and is something else.
    """
    if path.exists() and not _is_at(path, may_replace):
        raise UsageError(f"{path} exists and holds no {what}; allowed: a new directory")
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(
        {name: tensor.detach().contiguous() for name, tensor in tensors.items()}, partial / _SAFETENSORS
    )
    (partial / CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    if path.exists():
        replaced = path.with_name(f".{path.name}.replaced")
        shutil.rmtree(replaced, ignore_errors=True)
        path.rename(replaced)
        partial.rename(path)
        shutil.rmtree(replaced)
    else:
        partial.rename(path)


def _is_at(path: Path, describes: Callable[[Mapping[str, Any]], bool]) -> bool:
    try:
        return describes(read_settings(path))
    except CheckpointError:
        return False


def read_settings(path: Path) -> dict[str, Any]:
    """Return the content of ``config.json``.

    Raises:
        CheckpointError: it is missing, or holds something else than a JSON object.
    """
    if not path.is_dir():
        raise CheckpointError(f"checkpoint {path} is not a directory")
    try:
        settings = json.loads((path / CONFIG).read_text(encoding="utf-8"), object_pairs_hook=_object)
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {path} has no {CONFIG}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path / CONFIG} cannot be read as JSON: {first_line(error)}") from None
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path / CONFIG} holds no JSON object")
    return settings


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, no key of which is there twice: one of them would win."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has {next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def read_some(path: Path, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    """Return the tensors of safetensors files whose names are wanted, on the CPU; nothing else is read.

    Raises:
        CheckpointError: a file is missing or corrupt.
    """
    if not path.is_dir():
        raise CheckpointError(f"checkpoint {path} is not a directory")
    tensors: dict[str, Tensor] = {}
    for file in _files(path):
        if file.suffix != ".safetensors":
            raise CheckpointError(f"checkpoint {path} holds {file.name}; allowed: safetensors")
        try:
            with safe_open(file, framework="pt") as opened:
                tensors |= {name: opened.get_tensor(name) for name in opened.keys() if wanted(name)}  # noqa: SIM118  # no dict
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{file} is corrupt: {first_line(error)}") from None
    return tensors


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors by name, on the CPU.

    Reads one safetensors or ``.bin`` file, or the shards that an index names; never runs pickled code.

    Raises:
        CheckpointError: a file is missing or corrupt, or two shards hold one tensor.
    """
    tensors: dict[str, Tensor] = {}
    for file in _files(path):
        found = _read_file(file)
        twice = sorted(tensors.keys() & found)
        if twice:
            raise CheckpointError(f"{path} has {twice[0]} in several shards; allowed: in one")
        tensors.update(found)
    return tensors


def _files(path: Path) -> list[Path]:
    """Return the files that hold the tensors, one or several shards."""
    found = next((path / name for name in _WEIGHTS if (path / name).is_file()), None)
    if found is None:
        raise CheckpointError(f"checkpoint {path} has neither {_SAFETENSORS} nor {_BIN}")
    return _shards(path, found) if found.suffix == ".json" else [found]


def _shards(path: Path, index: Path) -> list[Path]:
    """Return the files that an index names, which lie beside it."""
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        shards = sorted(map(os.fspath, names))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is corrupt: {first_line(error)}") from None
    for name in shards:
        if Path(name).name != name or not (path / name).is_file():
            raise CheckpointError(f"{path} has no shard {name}, which {index.name} names")
    return [path / name for name in shards]


def _read_file(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            tensors = load_file(file)
        else:
            tensors = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(f"{file} is corrupt: {first_line(error)}") from None
    if not (isinstance(tensors, dict) and all(map(_is_named_dense, tensors.items()))):
        raise CheckpointError(f"{file} is corrupt: it holds something else than named tensors")
    return tensors


def _is_named_dense(item: tuple[Any, Any]) -> bool:
    name, found = item
    if not (isinstance(name, str) and isinstance(found, Tensor)):
        return False
    return found.layout == torch.strided and not found.is_quantized and not found.is_meta


def filled(make: Callable[[], Module], tensors: Mapping[str, Tensor], path: Path, target: Target) -> Module:
    """Return a module with the tensors of a checkpoint, frozen, on a target's device and in its dtype.

    Raises:
        CheckpointError: a tensor is missing, unexpected, of another shape or type, or not finite.
    """
    try:
        with torch.device("meta"):
            module = make()
    except (RuntimeError, ValueError, OverflowError) as error:  # sizes that no tensor can have
        raise CheckpointError(f"{path / CONFIG} does not describe a head: {first_line(error)}") from None
    check_tensors({name: tuple(p.shape) for name, p in module.named_parameters()}, tensors, path)
    module.load_state_dict(tensors, assign=True)
    return module.to(target.device, target.dtype).eval().requires_grad_(False)


def check_tensors(needed: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise CheckpointError unless the tensors are those needed: names, shapes, floating, finite."""
    missing, unexpected = sorted(needed.keys() - tensors), sorted(tensors.keys() - needed)
    if missing:
        raise CheckpointError(f"{path} has no tensor {missing[0]} ({len(missing)} missing)")
    if unexpected:
        raise CheckpointError(f"{path} has an unexpected tensor {unexpected[0]} ({len(unexpected)} in all)")
    for name, shape in needed.items():
        if tensors[name].shape != shape:
            raise CheckpointError(
                f"{name} is {list(tensors[name].shape)} in {path}; its {CONFIG} says {list(shape)}"
            )
        if tensors[name].dtype not in _FLOATS:
            allowed = ", ".join(map(name_of, _FLOATS))
            raise CheckpointError(f"{name} is {name_of(tensors[name].dtype)} in {path}; allowed: {allowed}")
        if not torch.isfinite(tensors[name]).all():
            raise CheckpointError(f"{name} in {path} has values that are not finite")


def first_line(error: Exception) -> str:
    """Return what an exception says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]

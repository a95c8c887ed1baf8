"""From a head or a strategy on the command line to files for other engines."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from specframe.config import split_assignment
from specframe.contracts.options import build_options
from specframe.contracts.records import check_folder_place
from specframe.errors import CheckpointError, SpecframeError, UsageError, unknown_name
from specframe.model.loading import default_model, open_pretrained, source_of
from specframe.model.target import Target
from specframe.registry.components import BuildContext, Export, ExportRequest
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe.registry.registry import Registry
from specframe.registry.shipped import ShippedData
from specframe.vocabulary.token_maps.frequencies import TokenFrequencies
from specframe.vocabulary.token_maps.writing import write_map

_CONFIG = "config.json"
# Tokens of a draft, in the command line that is shown.
_CHAIN = 3


def export_head(head: str, out: Path, model: str | None) -> str:
    """Write a head as a draft model for vLLM, complete or not at all; return the options that load it.

    Args:
        head: name of a head that ships, or a directory.
        out: directory to write; one that was written before is replaced.
        model: the target; None for the one that the head names.

    Raises:
        UsageError: there is no such head, it does not fit the target, or ``out`` is something else.
        SpecframeError: ``out`` cannot be written.
    """
    check_folder_place(out)
    registry = build_registry(create_plugin_manager())
    checkpoint = _find_head(head, registry.data)
    export, named = _export_of(checkpoint, registry)
    name = model or named
    if not name:
        raise UsageError(f"{checkpoint} does not say which target it was made for; allowed: --model MODEL")
    target = _target(name)
    with _writing(out):
        export.write(ExportRequest(checkpoint=checkpoint, target=target, out=out))
    speculative = {"method": export.method, "model": str(out.absolute()), "num_speculative_tokens": _CHAIN}
    return shlex.join(["--model", source_of(name), "--speculative-config", json.dumps(speculative)])


def export_token_map(strategy: str, out: Path, model: str | None, assignments: Iterable[str]) -> str:
    """Write the ids of a strategy that never changes its active set; return one line that says so.

    The file is of form ``pt`` of ``write_map``; SGLang reads it in sglang/srt/speculative/spec_utils.py.

    Args:
        strategy: its name.
        out: file to write; it must be new.
        model: the target; None for an installed demo model.
        assignments: options of the strategy as ``name=value``.

    Raises:
        UsageError: the strategy or an option is unknown, its active set is not fixed, or ``out`` exists.
        SpecframeError: ``out`` cannot be written.
    """
    registry = build_registry(create_plugin_manager())
    component = registry.get("vocabulary", strategy)
    options = build_options(
        component.options, dict(map(split_assignment, assignments)), f"strategy {strategy!r}"
    )
    if out.exists():
        raise UsageError(f"{out} exists; allowed: a new file")
    check_folder_place(out.parent)
    name = model or default_model()
    target = _target(name)
    context = BuildContext(target=target, required_ids=target.required_ids, data=registry.data)
    builder = component.factory(options, context)
    ids = builder.pinned_ids.cpu()
    if builder.capacity != len(ids):
        raise UsageError(
            f"strategy {strategy!r} has no fixed active set, and a token map is one; allowed: a strategy "
            "that does nothing but pin ids, such as static"
        )
    with _writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_map(out, TokenFrequencies(ids, None, strategy), target, "pt")
    return f"{out}: {len(ids):,} of {target.vocab_size:,} tokens of {name} for SGLang"


def _find_head(head: str, data: ShippedData) -> Path:
    """Return the directory of a head that ships, or that was named."""
    shipped = {file.path.parent.name: file.path.parent for file in data.files(_CONFIG)}
    if head in shipped:
        return shipped[head]
    path = Path(head).expanduser()
    if path.is_dir():
        return path
    if path.name != head:
        raise CheckpointError(f"no such head: {head}; allowed: a directory, or {', '.join(sorted(shipped))}")
    raise unknown_name("head", head, shipped)


def _export_of(checkpoint: Path, registry: Registry) -> tuple[Export, str]:
    """Return what exports a checkpoint, and the target that it names."""
    exporting = []
    for name in registry.names("drafter"):
        export = registry.get("drafter", name).export
        if export is None:
            continue
        exporting.append(name)
        target = export.target_of(checkpoint)
        if target is not None:
            return export, target
    raise CheckpointError(
        f"{checkpoint} holds no head that can be exported; allowed: heads of the drafters "
        f"{', '.join(exporting) or '(none installed)'}"
    )


def _target(name: str) -> Target:
    return Target(open_pretrained(name, torch.float32))


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Say in one line that files cannot be written."""
    try:
        yield
    except OSError as error:
        raise SpecframeError(f"cannot write {out}: {error.strerror or error}") from None

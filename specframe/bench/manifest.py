"""The manifest of a benchmark: what was asked for, by which command, which versions, on which machine."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs
import torch

from specframe.bench.checks import CheckResult
from specframe.contracts.records import structure, write_whole
from specframe.contracts.report import VERSION
from specframe.errors import SpecframeError

SCHEMA_VERSION = 1

_PACKAGES = ("torch", "transformers", "triton")


@attrs.frozen(slots=True, kw_only=True)
class Manifest:
    """Everything about a run that is not in its rows; it is kept beside them, as ``OUT.meta.json``.

    Attributes:
        schema_version: of rows and manifest.
        command: as it was typed.
        date: when the run began, ISO 8601 with its time zone.
        finished: all rows are there and the checks are done.
        settings: what decides the rows; a run can only be continued with the same. See ``RunSettings``.
        versions: of Python and of the packages that matter.
        machine: ``cpu``, ``cores`` of the machine, ``cores_used``, ``threads``, ``memory_bytes``, ``os``,
            ``accelerator`` (None on a CPU).
        target: sizes of the target: ``vocab_size``, ``hidden_size``, ``layers``, ``parameters``.
        skipped: task lines and prompts left out with ``--skip-bad``.
        findings: what the run's own checks say, one entry per configuration and check.
    """

    schema_version: int = SCHEMA_VERSION
    command: str
    date: str
    finished: bool = False
    settings: Mapping[str, Any]
    versions: Mapping[str, str | None]
    machine: Mapping[str, Any]
    target: Mapping[str, int]
    skipped: int = 0
    findings: list[CheckResult] = attrs.field(factory=list)


def manifest_path(rows: Path) -> Path:
    """Return where the manifest of a file of rows is: ``OUT.meta.json`` beside ``OUT.jsonl``."""
    return rows.with_suffix(".meta.json")


def read_manifest(path: Path) -> Manifest:
    """Return a manifest.

    Raises:
        SpecframeError: it cannot be read, is no manifest, or is one of another schema version.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecframeError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise SpecframeError(f"{path} is not a manifest of specframe bench: {error}") from None
    version = values.get("schema_version") if isinstance(values, dict) else None
    if version != SCHEMA_VERSION:
        raise SpecframeError(f"{path} has schema version {version}; this version reads {SCHEMA_VERSION}")
    try:
        return structure(Manifest, values)
    except ValueError as error:
        raise SpecframeError(f"{path} is not a manifest of specframe bench: {error}") from None


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest as a whole.

    Raises:
        SpecframeError: it cannot be written.
    """
    write_whole(path, (json.dumps(attrs.asdict(manifest), indent=2) + "\n").encode())


def versions_here() -> dict[str, str | None]:
    """Return the versions that a figure depends on; None for a package that is not installed."""
    found: dict[str, str | None] = {
        "specframe": VERSION,
        "python": platform.python_version(),
    }
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def machine_here(device: torch.device) -> dict[str, Any]:
    """Return what the machine is, as far as it can be known."""
    usable = getattr(os, "sched_getaffinity", None)
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "cores_used": len(usable(0)) if usable else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": _memory_bytes(),
        "os": platform.platform(),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    if sys.platform == "win32":
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

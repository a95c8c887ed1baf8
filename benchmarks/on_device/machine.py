"""Part *machine*: the device, and the versions of everything that decides a figure."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

import torch
from packaging.requirements import Requirement

from on_device.parts import Figure, Row, Setup
from specframe.bench.manifest import machine_here, versions_here


def check(setup: Setup) -> Iterator[Row]:
    """Yield the device, the versions, and those that are older than what specframe asks for."""
    if setup.miniature:
        yield Row("device", None, "no GPU: everything below is small, and says nothing about one")
    else:
        yield _device(torch.device(setup.device))
    versions: dict[str, Figure] = {**versions_here()}
    machine: dict[str, Figure] = {**machine_here(torch.device(setup.device))}
    said = ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)
    yield Row("versions", True, said, {**versions, **machine})
    older = list(unmet(metadata.requires("specframe") or []))
    if older:
        yield Row("what specframe asks for", None, f"not here: {', '.join(older)}")


def _device(device: torch.device) -> Row:
    properties = torch.cuda.get_device_properties(device)
    figures: dict[str, Figure] = {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": properties.total_memory,
        "multiprocessors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
    }
    runtime = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
    gib = properties.total_memory / 2**30
    said = f"{properties.name}, {figures['capability']}, {gib:.0f} GiB, {runtime}"
    return Row("device", True, said, figures)


def unmet(requirements: list[str]) -> Iterator[str]:
    """Yield every requirement that what is installed does not meet, with what is there."""
    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield f"{requirement} (not installed)"
        else:
            if not requirement.specifier.contains(version, prereleases=True):
                yield f"{requirement} (here {version})"

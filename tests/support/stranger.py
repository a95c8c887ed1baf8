"""Packages of strangers: installed by dist-info alone, found through importlib.metadata like any other."""

from __future__ import annotations

import sys
from pathlib import Path


def install_plugin(
    site: Path, distribution: str, source: str, *, entry_point: str | None = None, version: str = "1.0"
) -> None:
    """Write a distribution with one module and one ``specframe`` entry point into a folder of ``sys.path``.

    Args:
        site: the folder.
        distribution: its name; the module has the same name, with underscores.
        source: text of the module.
        entry_point: name of the entry point; by default that of the distribution.
        version: of the distribution.
    """
    module = distribution.replace("-", "_")
    sys.modules.pop(module, None)  # of another test's folder
    (site / f"{module}.py").write_text(source, encoding="utf-8")
    info = site / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(
        f"[specframe]\n{entry_point or distribution} = {module}\n", encoding="utf-8"
    )


STRATEGY = """
import attrs
from specframe.registry.components import Component
from specframe.registry.hookspecs import hookimpl


@attrs.frozen
class Options:
    pass


def create(options, context):
    raise NotImplementedError("not today")


@hookimpl
def specframe_vocabularies():
    return [Component(name="{name}", summary="a stranger's", options=Options, factory=create)]
"""

"""Lets this checkout count as installed, in this process and in those that it starts.

What has to be checked may lie on a machine where nothing can be installed. Links to the packages and the metadata of
each ``pyproject.toml`` stand in one folder, which goes in front of the module path: so versions and entry points are
found. The repository's root leaves the path: a folder there is named like a package
that transformers looks for.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def installed() -> Iterator[None]:
    """Have ``specframe`` be this checkout."""
    with TemporaryDirectory(prefix="specframe-checkout-") as folder:
        for distribution in (ROOT, ROOT / "heads"):
            write_installation(distribution, Path(folder))
        path = [folder, str(ROOT / "benchmarks")]
        outside = [entry for entry in sys.path if entry and Path(entry).resolve() not in _OWN]
        sys.path[:] = [*path, *outside]
        inherited = [
            entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry in outside
        ]
        os.environ["PYTHONPATH"] = os.pathsep.join([*path, *inherited])
        os.environ["PYTHONSAFEPATH"] = "1"  # else the current folder stands in front
        yield


def write_installation(root: Path, folder: Path) -> None:
    """Write into ``folder`` what an installation of the distribution at ``root`` would have."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    project = settings["project"]
    for package in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        (folder / Path(package).name).symlink_to(root / package, target_is_directory=True)
    # A checkout that was copied may have no history to tell its version from.
    version = project.get("version") or settings["tool"]["hatch"]["version"]["fallback-version"]
    metadata = folder / f"{project['name'].replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    required = "".join(f"Requires-Dist: {one}\n" for one in project["dependencies"])
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: {version}\n{required}",
        encoding="utf-8",
    )
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {module}" for name, module in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


_OWN = {ROOT, ROOT / "plugins", ROOT / "kernels", ROOT / "heads", ROOT / "benchmarks"}

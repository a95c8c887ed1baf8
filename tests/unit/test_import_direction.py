"""Data and imports flow one way: kernels import nothing of ours, the core imports neither of the others."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"specframe", "specframe_plugins", "specframe_kernels"}
ALLOWED = {
    ROOT / "specframe": {"specframe"},
    ROOT / "plugins" / "specframe_plugins": OURS,
    ROOT / "kernels" / "specframe_kernels": {"specframe_kernels"},
}
FILES = [(file, allowed) for folder, allowed in ALLOWED.items() for file in sorted(folder.rglob("*.py"))]


def imported_packages(source: str) -> set[str]:
    """Return the top-level packages a module imports anywhere, inside functions and TYPE_CHECKING too.

    Relative imports stay within the module's own package, so they are left out.
    """
    packages = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            packages |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            packages.add(node.module.partition(".")[0])
    return packages


@pytest.mark.parametrize(("file", "allowed"), FILES, ids=[str(file.relative_to(ROOT)) for file, _ in FILES])
def test_a_module_imports_only_what_its_package_may(file: Path, allowed: set[str]) -> None:
    assert imported_packages(file.read_text(encoding="utf-8")) & OURS <= allowed


def test_every_package_is_looked_at() -> None:
    assert {folder for folder in ALLOWED if any(folder.rglob("*.py"))} == set(ALLOWED)


@pytest.mark.parametrize(
    "source",
    ["import specframe_plugins.gathers", "def f():\n    from specframe_plugins import gathers"],
)
def test_an_import_is_found_wherever_it_stands(source: str) -> None:
    assert "specframe_plugins" in imported_packages(source)

"""The map of the house: what every folder may import. Imports flow one way, from the top line down."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Set
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

# Each folder or file of the core, above whatever it imports. `specframe/__init__.py` is the face of the
# package: it hands names out, and holds the version.
CORE: Mapping[str, Set[str]] = {
    "cli": {
        "replay",
        "bench",
        "engine",
        "request",
        "registry",
        "config",
        "model",
        "contracts",
        "ops",
        "errors",
    },
    "replay": {"bench", "engine", "registry", "vocabulary", "config", "model", "contracts", "ops", "errors"},
    "bench": {"engine", "request", "registry", "config", "model", "contracts", "ops", "errors"},
    "transformers": {"engine", "request", "registry", "config", "model", "contracts", "ops", "errors"},
    "engine": {"request", "registry", "vocabulary", "config", "model", "contracts", "ops", "errors"},
    "request": {"config", "model", "contracts", "errors"},
    "registry": {"config", "model", "contracts", "ops", "errors"},
    "testing": {"vocabulary", "contracts"},
    "vocabulary": {"contracts", "errors"},
    "config": {"contracts", "errors"},
    "model": {"contracts", "ops", "errors"},
    "contracts": {"ops", "errors"},
    "ops": set(),
    "errors": set(),
}

# Each folder of the built-in plugins; all of them may import the core and the kernels.
PLUGINS: Mapping[str, Set[str]] = {
    "drafters": {"training", "trees"},
    "training": {"trees"},
    "trees": set(),
    "verifiers": set(),
    "gathers": set(),
    "vocabularies": set(),
    "data": set(),  # what ships for the demo models; no code
}

# Each drafter, and the files that they share.
DRAFTERS: Mapping[str, Set[str]] = {
    "eagle3": {"eagle", "lookup", "checkpoint_files", "probe"},
    "eagle": {"lookup", "checkpoint_files", "probe"},
    "draft_model": {"lookup", "probe"},
    "lookup": set(),
    "checkpoint_files": set(),
    "probe": set(),
}

# The three packages. Kernels need nothing of ours, and the core knows neither plugins nor kernels.
PACKAGES: Mapping[str, Set[str]] = {
    "specframe": {"specframe"},
    "specframe_plugins": {"specframe", "specframe_plugins", "specframe_kernels"},
    "specframe_kernels": {"specframe_kernels"},
}
FOLDERS = {
    "specframe": ROOT / "specframe",
    "specframe_plugins": ROOT / "plugins" / "specframe_plugins",
    "specframe_kernels": ROOT / "kernels" / "specframe_kernels",
}
FILES = [(package, file) for package, folder in FOLDERS.items() for file in sorted(folder.rglob("*.py"))]


def imported_modules(source: str, within: str = "") -> set[str]:
    """Return the modules that a module imports anywhere, inside functions and TYPE_CHECKING too.

    Args:
        source: of the module.
        within: the package that relative imports start from.
    """
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = within.split(".")[: len(within.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            # What is imported from a package's face may be a folder of it.
            modules |= {f"{base}.{alias.name}" for alias in node.names} if "." not in base else {base}
    return modules


def rooms(package: str, file: Path, imported: set[str]) -> tuple[str, set[str]]:
    """Return the folder or file right below the package that a file is in, and those that it imports."""
    inside = file.relative_to(FOLDERS[package]).parts[0].removesuffix(".py")
    parts = (module.split(".") for module in imported)
    known = {path.stem for path in FOLDERS[package].iterdir()}
    return inside, {names[1] for names in parts if names[0] == package and len(names) > 1} & known


def package_of(package: str, file: Path) -> str:
    return ".".join([package, *file.relative_to(FOLDERS[package]).parts[:-1]])


@pytest.mark.parametrize(("package", "file"), FILES, ids=[str(file.relative_to(ROOT)) for _, file in FILES])
def test_a_module_imports_only_what_the_map_allows(package: str, file: Path) -> None:
    imported = imported_modules(file.read_text(encoding="utf-8"), package_of(package, file))
    assert {module.partition(".")[0] for module in imported} & PACKAGES.keys() <= PACKAGES[package]
    allowed = {"specframe": CORE, "specframe_plugins": PLUGINS}.get(package, {})
    room, neighbours = rooms(package, file, imported)
    if room != "__init__" and allowed:
        assert neighbours - {room} <= allowed[room], f"{room} imports {neighbours - {room} - allowed[room]}"


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_a_drafter_imports_only_what_the_map_allows(drafter: str) -> None:
    folder, prefix = FOLDERS["specframe_plugins"] / "drafters", "specframe_plugins.drafters."
    files = [*folder.glob(f"{drafter}.py"), *folder.glob(f"{drafter}/**/*.py")]
    imported = {module for file in files for module in imported_modules(file.read_text(encoding="utf-8"))}
    neighbours = {name.removeprefix(prefix).split(".")[0] for name in imported if name.startswith(prefix)}
    assert neighbours - {drafter} <= DRAFTERS[drafter]


@pytest.mark.parametrize("table", [CORE, PLUGINS, DRAFTERS], ids=["core", "plugins", "drafters"])
def test_the_map_has_no_circle(table: Mapping[str, Set[str]]) -> None:
    left = {room: below - {room} for room, below in table.items()}
    while left:
        floor = {room for room, below in left.items() if not below & left.keys()}
        assert floor, f"a circle among {sorted(left)}"
        left = {room: below for room, below in left.items() if room not in floor}


@pytest.mark.parametrize(
    ("package", "table"), [("specframe", CORE), ("specframe_plugins", PLUGINS)], ids=["core", "plugins"]
)
def test_every_room_is_on_the_map_and_there_are_at_most_fifteen(
    package: str, table: Mapping[str, Set[str]]
) -> None:
    found = {path.stem for path in FOLDERS[package].iterdir() if path.suffix == ".py" or path.is_dir()}
    assert found - {"__pycache__"} == {*table, "__init__"}
    assert len(found - {"__pycache__"}) <= 15


@pytest.mark.parametrize(
    "source",
    [
        "import specframe_plugins.gathers",
        "def f():\n    from specframe_plugins import gathers",
        "from ..gathers import torch",
        "from .. import gathers",
    ],
)
def test_an_import_is_found_wherever_and_however_it_stands(source: str) -> None:
    imported = imported_modules(source, "specframe_plugins.verifiers")
    assert any(module.startswith("specframe_plugins.gathers") for module in imported)


@pytest.mark.parametrize("table", [CORE, PLUGINS, DRAFTERS], ids=["core", "plugins", "drafters"])
def test_the_page_about_the_house_shows_the_map(table: Mapping[str, Set[str]]) -> None:
    rows = re.findall(r"^\| `(\w+)` \|(?:.*\|)? ((?:`\w+` ?)*)\|$", PAGE, flags=re.MULTILINE)
    shown = {room: set(re.findall(r"\w+", below)) for room, below in rows}
    assert {room: shown.get(room) for room in table} == table


def test_the_page_about_the_house_names_every_folder_and_file_of_the_core() -> None:
    sketch = PAGE.split("```")[1]
    parts = re.split(r"^(?=\S)", sketch, flags=re.MULTILINE)
    named = {words[0]: {*words} for part in parts if (words := re.findall(r"\w+", part))}
    for room in CORE:
        inside = {
            path.stem for path in (FOLDERS["specframe"] / room).glob("[!_]*") if path.suffix in ("", ".py")
        }
        assert inside <= named[room], f"of {room} the page does not name {inside - named[room]}"

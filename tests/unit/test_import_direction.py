"""The map of the house: what every folder may import. Imports flow one way, from the top line down."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Set
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

# Each folder or file of the core, above whatever it imports. `__init__` is the face of the package: it hands
# names out when they are asked for, and holds the version. `__main__`, where the command line begins too,
# counts as `cli`.
CORE = {
    "cli": "__init__ replay bench engine request registry vocabulary costs config model contracts ops errors",
    "replay": "bench engine registry vocabulary config model contracts ops errors",
    "bench": "engine request registry config model contracts ops errors",
    "transformers": "engine request registry config model contracts errors",
    "__init__": "engine request config contracts",
    "engine": "request registry vocabulary costs config model contracts ops errors",
    "testing": "engine registry vocabulary config model contracts errors",
    "request": "config model contracts errors",
    "registry": "costs config model contracts ops errors",
    "vocabulary": "contracts errors",
    "costs": "contracts ops errors",
    "config": "contracts errors",
    "model": "contracts ops errors",
    "contracts": "ops errors",
    "ops": "",
    "errors": "",
}

# Each folder of the built-in plugins; all of them may import the core and the kernels.
PLUGINS = {
    "__init__": "drafters verifiers gathers vocabularies data",
    "drafters": "training trees sources",
    "training": "trees",
    "sources": "",
    "trees": "",
    "verifiers": "",
    "gathers": "",
    "vocabularies": "",
    "metrics": "",
    "lm_eval": "",
    "data": "",  # what ships for the demo models; no code
}

# Each drafter, and the files that they share. All may import `components`: how drafters are called, and their
# options.
DRAFTERS = {
    "eagle3": "eagle graft checkpoint_files hub probe public_config",
    "eagle": "graft checkpoint_files hub probe public_config",
    "draft_model": "graft probe",
    "swift": "graft",
    "mtp": "checkpoint_files graft hub probe",
    "combine": "graft lookup",
    "graft": "aded logitspec lookup suffix token_recycling",
    "aded": "",
    "logitspec": "lookup",
    "suffix": "",
    "token_recycling": "",
    "lookup": "",
    "hub": "checkpoint_files",
    "public_config": "checkpoint_files",
    "checkpoint_files": "",
    "probe": "",
    "components": "",
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
    inside = file.relative_to(FOLDERS[package]).parts[0].removesuffix(".py").replace("__main__", "cli")
    known = {path.stem for path in FOLDERS[package].iterdir()}
    names = {f"{module}.__init__".split(".")[1] for module in imported if module.split(".")[0] == package}
    return inside, {name if name in known else "__init__" for name in names} - {inside}


def package_of(package: str, file: Path) -> str:
    return ".".join([package, *file.relative_to(FOLDERS[package]).parts[:-1]])


@pytest.mark.parametrize(("package", "file"), FILES, ids=[str(file.relative_to(ROOT)) for _, file in FILES])
def test_a_module_imports_only_what_the_map_allows(package: str, file: Path) -> None:
    imported = imported_modules(file.read_text(encoding="utf-8"), package_of(package, file))
    assert {module.partition(".")[0] for module in imported} & PACKAGES.keys() <= PACKAGES[package]
    allowed = {"specframe": CORE, "specframe_plugins": PLUGINS}.get(package, {})
    room, neighbours = rooms(package, file, imported) if allowed else ("", set())
    assert neighbours <= set(allowed.get(room, "").split())


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_a_drafter_imports_only_what_the_map_allows(drafter: str) -> None:
    folder, prefix = FOLDERS["specframe_plugins"] / "drafters", "specframe_plugins.drafters."
    files = [*folder.glob(f"{drafter}.py"), *folder.glob(f"{drafter}/**/*.py")]
    imported = {module for file in files for module in imported_modules(file.read_text(encoding="utf-8"))}
    neighbours = {name.removeprefix(prefix).split(".")[0] for name in imported if name.startswith(prefix)}
    assert neighbours - {drafter, "components"} <= set(DRAFTERS[drafter].split())


def floors(table: Mapping[str, str]) -> list[set[str]]:
    """Return the rooms floor by floor, those that import nothing first."""
    found: list[set[str]] = []
    left = {room: set(below.split()) for room, below in table.items()}
    while left:
        found.append({room for room, below in left.items() if not below & left.keys()})
        assert found[-1], f"a circle among {sorted(left)}"
        left = {room: below for room, below in left.items() if room not in found[-1]}
    return found


@pytest.mark.parametrize("table", [CORE, PLUGINS, DRAFTERS], ids=["core", "plugins", "drafters"])
def test_the_map_has_no_circle_and_at_most_eight_floors(table: Mapping[str, str]) -> None:
    assert len(floors(table)) <= 8


@pytest.mark.parametrize(
    ("package", "table"), [("specframe", CORE), ("specframe_plugins", PLUGINS)], ids=["core", "plugins"]
)
def test_every_room_is_on_the_map_and_there_are_at_most_sixteen(
    package: str, table: Mapping[str, str]
) -> None:
    found = {path.stem for path in FOLDERS[package].iterdir() if path.suffix == ".py" or path.is_dir()}
    assert found - {"__pycache__", "__main__"} == table.keys()
    assert len(table) <= 16


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


def test_what_is_no_room_of_a_package_is_its_face() -> None:
    file = FOLDERS["specframe"] / "engine" / "engine.py"
    imported = imported_modules("from specframe import __version__, config\nimport specframe")
    assert rooms("specframe", file, imported) == ("engine", {"__init__", "config"})


@pytest.mark.parametrize("table", [CORE, PLUGINS, DRAFTERS], ids=["core", "plugins", "drafters"])
def test_the_page_about_the_house_shows_the_map(table: Mapping[str, str]) -> None:
    rows = re.findall(r"^\| `(\w+)` \|(?:.*\|)? ((?:`\w+` ?)*)\|$", PAGE, flags=re.MULTILINE)
    shown = {(room, frozenset(re.findall(r"\w+", below))) for room, below in rows}
    assert {(room, frozenset(below.split())) for room, below in table.items()} <= shown


def test_the_page_about_the_house_names_every_folder_and_file_of_the_core() -> None:
    parts = re.split(r"^(?=\S)", PAGE.split("```")[1], flags=re.MULTILINE)
    named = {words[0]: {*words} for part in parts if (words := re.findall(r"\w+", part))}
    for room in CORE:
        paths = (FOLDERS["specframe"] / room).glob("[!_]*")
        inside = {path.stem for path in paths if path.suffix in ("", ".py")}
        assert inside <= named[room], f"of {room} the page does not name {inside - named[room]}"

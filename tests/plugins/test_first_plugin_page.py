"""The code on docs/first-plugin.md runs as it is printed, and its package is what `specframe new` writes."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from tiny_models import tiny_target

from specframe.cli.scaffold.package import NewPackage
from specframe.registry.components import BuildContext
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe.testing import check_vocabulary_builder

PAGE = (Path(__file__).parents[2] / "docs" / "first-plugin.md").read_text(encoding="utf-8")
# The code of each file by its name: "`name`...:" and then a fenced block.
FILES = dict(re.findall(r"`([\w.]+)`[^\n]*:\n\n```\w+\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL))
NEW = NewPackage.of("strategy", "recent", "0.1.0")


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def code(title: str, language: str) -> list[str]:
    """Return the blocks of a section."""
    return re.findall(rf"^```{language}\n(.*?)^```$", section(title), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("specframe_recent")
    monkeypatch.setitem(sys.modules, "specframe_recent", module)
    exec(compile(FILES["specframe_recent.py"], "specframe_recent.py", "exec"), module.__dict__)
    return module


def test_the_page_begins_with_the_command_that_writes_the_package() -> None:
    commands = code("1. A package that works", "console")[0].splitlines()
    assert "$ specframe new strategy recent" in commands
    assert f"$ pip install --editable './{NEW.distribution}[test]'" in commands
    rows = re.findall(r"^\| `([\w./]+)` \|", section("1. A package that works"), flags=re.MULTILINE)
    assert set(rows) == NEW.files().keys() - {"README.md", f"{NEW.module}/py.typed"}


def test_the_methods_that_the_page_shows_stand_in_the_package() -> None:
    shown = code("2. Make it yours", "python")
    assert len(shown) == 2
    for lines in shown:
        assert lines in NEW.files()["specframe_recent/strategy.py"]


def test_the_strategy_registers_builds_and_keeps_its_promises(plugin: ModuleType) -> None:
    manager = create_plugin_manager(entry_points=False)
    manager.register(plugin)
    component = build_registry(manager).get("vocabulary", "recent")
    target = tiny_target()
    context = BuildContext(target=target, required_ids=target.required_ids)
    check_vocabulary_builder(component.factory(component.options(), context), target.vocab_size)


def test_the_test_passes(plugin: ModuleType) -> None:
    namespace: dict[str, object] = {}
    exec(compile(FILES["test_recent.py"], "test_recent.py", "exec"), namespace)
    tests = [value for name, value in namespace.items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()  # type: ignore[operator]


def test_the_screen_keeps_its_promises() -> None:
    namespace: dict[str, object] = {}
    exec(code("A screen of your own", "python")[0], namespace)
    namespace["test_the_screen_keeps_its_promises"]()  # type: ignore[operator]


def test_the_entry_point_names_the_module() -> None:
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    assert list(project["entry-points"]["specframe"].values()) == ["specframe_recent"]

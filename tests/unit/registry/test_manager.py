"""Plugins of strangers come in through the same door as ours, and fail with their own name."""

from __future__ import annotations

from pathlib import Path

import pytest
from stranger import STRATEGY, install_plugin

from specframe.errors import PluginError
from specframe.registry.installed import DISABLE_VARIABLE
from specframe.registry.manager import build_registry, create_plugin_manager

HOOK = """
from specframe.registry.hookspecs import hookimpl

@hookimpl
def {signature}:
    return {result}
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of sys.path where distributions can be installed."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def strategies() -> list[str]:
    return build_registry(create_plugin_manager()).names("vocabulary")


def test_the_built_ins_are_one_plugin_among_others() -> None:
    assert any(name.startswith("specframe-builtin") for name, _ in create_plugin_manager().list_name_plugin())


def test_managers_share_nothing() -> None:
    first, second = create_plugin_manager(), create_plugin_manager()
    first.set_blocked("anything")
    assert not second.is_blocked("anything")


def test_a_manager_without_entry_points_is_empty() -> None:
    assert build_registry(create_plugin_manager(entry_points=False)).registrations() == []


def test_an_installed_distribution_brings_its_strategy(site: Path) -> None:
    install_plugin(site, "their-strategy", STRATEGY.format(name="theirs"), version="2.5")
    entry = build_registry(create_plugin_manager()).registration("vocabulary", "theirs")
    assert entry.distribution == "their-strategy (their-strategy 2.5)"


def test_a_disabled_plugin_is_left_out(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugin(site, "disabled-strategy", STRATEGY.format(name="theirs"))
    monkeypatch.setenv(DISABLE_VARIABLE, "disabled-strategy")
    assert "theirs" not in strategies()


def test_several_plugins_are_disabled_by_commas(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one-strategy", "two-strategy"):
        install_plugin(site, name, STRATEGY.format(name=name))
    monkeypatch.setenv(DISABLE_VARIABLE, "one-strategy, two-strategy")
    assert not {"one-strategy", "two-strategy"} & set(strategies())


def test_a_plugin_that_fails_to_import_names_its_distribution_and_the_way_on(site: Path) -> None:
    install_plugin(site, "broken-import", "import no_such_module_anywhere\n")
    with pytest.raises(PluginError) as error:
        create_plugin_manager()
    assert str(error.value) == (
        "plugin broken-import (broken-import 1.0) failed to import: ModuleNotFoundError: No module named "
        "'no_such_module_anywhere'; set SPECFRAME_DISABLE_PLUGINS=broken-import to go on without it"
    )


def test_a_plugin_that_fails_to_import_can_be_disabled(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugin(site, "broken-import", "import no_such_module_anywhere\n")
    monkeypatch.setenv(DISABLE_VARIABLE, "broken-import")
    assert "nanospec" in strategies()


def test_a_plugin_with_a_syntax_error_is_named(site: Path) -> None:
    install_plugin(site, "broken-syntax", "def\n")
    with pytest.raises(PluginError, match=r"broken-syntax 1\.0\) failed to import: SyntaxError"):
        create_plugin_manager()


def test_a_hook_that_raises_is_named(site: Path) -> None:
    source = HOOK.format(signature="specframe_drafters()", result="1 / 0")
    install_plugin(site, "raising-hook", source)
    with pytest.raises(
        PluginError, match=r"raising-hook.* raised in specframe_drafters\(\): ZeroDivisionError"
    ):
        strategies()


def test_a_hook_that_returns_something_else_than_components_is_named(site: Path) -> None:
    source = HOOK.format(signature="specframe_drafters()", result="[3]")
    install_plugin(site, "odd-hook", source)
    with pytest.raises(PluginError, match=r"odd-hook.* returned 3 from specframe_drafters\(\)"):
        strategies()


def test_a_hook_that_does_not_exist_is_named(site: Path) -> None:
    source = HOOK.format(signature="specframe_drafter()", result="[]")
    install_plugin(site, "misspelt-hook", source)
    with pytest.raises(PluginError, match="specframe_drafter"):
        strategies()


def test_a_hook_with_an_unknown_argument_is_named(site: Path) -> None:
    install_plugin(site, "odd-argument", HOOK.format(signature="specframe_drafters(extra)", result="[]"))
    with pytest.raises(PluginError, match="odd-argument"):
        create_plugin_manager()


def test_two_plugins_with_one_strategy_name_are_both_named(site: Path) -> None:
    for name in ("first-strategy", "second-strategy"):
        install_plugin(site, name, STRATEGY.format(name="same"))
    with pytest.raises(PluginError, match=r"first-strategy 1\.0.* and .*second-strategy 1\.0"):
        strategies()


def test_a_strategy_named_like_a_built_in_one_is_refused(site: Path) -> None:
    install_plugin(site, "their-nanospec", STRATEGY.format(name="nanospec"))
    with pytest.raises(PluginError, match=r"specframe-builtin.* and .*their-nanospec"):
        strategies()


def test_the_folders_of_every_directory_that_plugins_return_hold_their_data(site: Path) -> None:
    for name in ("one", "two"):
        (site / "theirs" / name).mkdir(parents=True)
    (site / "theirs" / "README.md").write_text("no folder")
    source = "from pathlib import Path\n" + HOOK.format(
        signature="specframe_data_directories()", result='[Path(__file__).with_name("theirs")]'
    )
    install_plugin(site, "their-data", source)
    folders = build_registry(create_plugin_manager()).data.folders
    theirs = [(folder.name, plugin) for folder, plugin in folders if folder.is_relative_to(site)]
    assert theirs == [("one", "their-data (their-data 1.0)"), ("two", "their-data (their-data 1.0)")]


@pytest.mark.parametrize("result", ["['/tmp']", "[__import__('pathlib').Path('/no/such/folder')]"])
def test_data_that_is_in_no_directory_names_the_distribution(site: Path, result: str) -> None:
    install_plugin(site, "lost-data", HOOK.format(signature="specframe_data_directories()", result=result))
    with pytest.raises(PluginError, match=r"plugin lost-data .* returned .*, which is no directory; set "):
        build_registry(create_plugin_manager())

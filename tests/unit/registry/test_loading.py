"""Whatever is wrong with a plugin is one line that names its distribution, and others go on without it."""

from __future__ import annotations

from pathlib import Path

import pytest
from stranger import STRATEGY, install_plugin

from specframe.errors import PluginError
from specframe.registry.installed import DISABLE_VARIABLE
from specframe.registry.manager import build_registry, create_plugin_manager

IMPORTS = """
import sys
import attrs
from pathlib import Path
from typing import Literal
from specframe.contracts.options import option
from specframe.registry.components import Component
from specframe.registry.hookspecs import hookimpl
"""
COMPONENT = """
{body}

@hookimpl
def specframe_vocabularies():
    return [Component({fields})]
"""
OPTIONS = """
{decorator}
class Options:
    {field}
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of sys.path where distributions can be installed."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def complaint() -> str:
    """Return what a command that needs plugins says, without the way on, which is always the same."""
    with pytest.raises(PluginError) as error:
        build_registry(create_plugin_manager())
    said = str(error.value)
    assert "\n" not in said
    return said.removeprefix("plugin theirs (theirs 1.0) ").removesuffix(
        "; set SPECFRAME_DISABLE_PLUGINS=theirs to go on without it"
    )


MODULES = {
    "it exits": ("sys.exit('no GPU')", "failed to import: SystemExit: no GPU"),
    "it raises what is no exception": (
        "class Stop(BaseException): pass\nraise Stop",
        "failed to import: Stop",
    ),
    "a hook without its mark": (
        "def specframe_drafters():\n    return []",
        "has a function specframe_drafters() that is named like a hook and not marked as one; allowed: "
        "@hookimpl above it, or another name",
    ),
    "a misspelt hook without its mark": (
        "def specframe_drafter():\n    return []",
        "has a function specframe_drafter() that is named like a hook and not marked as one; did you mean "
        "'specframe_drafters'?; allowed: @hookimpl above it, or another name",
    ),
    "a misspelt hook": (
        "@hookimpl\ndef specframe_strategies():\n    return []",
        "implements a hook that does not exist, specframe_strategies",
    ),
    "a coroutine": (
        "@hookimpl\nasync def specframe_drafters():\n    return []",
        "implements specframe_drafters() as a coroutine; allowed: a function",
    ),
    "a wrapper": (
        "@hookimpl(wrapper=True)\ndef specframe_drafters():\n    return (yield)",
        "wraps specframe_drafters(); allowed: to implement it",
    ),
    "an argument that no hook has": (
        "@hookimpl\ndef specframe_drafters(config):\n    return []",
        "asks for an argument 'config' in specframe_drafters(); allowed: none",
    ),
    "a default for what a hook is given": (
        "@hookimpl\ndef specframe_step_finished(stats=None):\n    pass",
        "has a default for 'stats' in specframe_step_finished(), so that it is never given; allowed: none",
    ),
    "a hook's name that is no text": (
        "@hookimpl(specname=5)\ndef drafters():\n    return []",
        "implements a hook that does not exist, 5; known: ",
    ),
    "an object as a hook": (
        "class Hook:\n    def __call__(self):\n        return []\n\nspecframe_drafters = Hook()",
        "has <theirs.Hook object at ",
    ),
    "no hooks": (
        "drafters = []",
        "has no hooks in theirs; allowed: an entry point that names the module that has them",
    ),
    "an argument that has to be named": (
        "@hookimpl\ndef specframe_step_finished(*, stats, more):\n    pass",
        "asks for an argument 'more' in specframe_step_finished(); allowed: stats",
    ),
    "None": (
        "@hookimpl\ndef specframe_drafters():\n    pass",
        "returned None from specframe_drafters(); allowed: an iterable of Component",
    ),
    "one component": (
        "@hookimpl\ndef specframe_drafters():\n    return Component(name='a', summary='a', factory=print)",
        "returned Component(name='a', summary='a'",
    ),
    "a text": (
        "@hookimpl\ndef specframe_drafters():\n    return 'eagle'",
        "returned 'eagle' from specframe_drafters(); allowed: an iterable of Component",
    ),
    "a generator that raises": (
        "@hookimpl\ndef specframe_drafters():\n    yield from ()\n    raise KeyError('x')",
        "raised in specframe_drafters(): KeyError: 'x'",
    ),
    "a hook that exits": (
        "@hookimpl\ndef specframe_drafters():\n    sys.exit(3)",
        "raised in specframe_drafters(): SystemExit: 3",
    ),
    "an item that cannot be shown": (
        "class Odd:\n    def __repr__(self):\n        raise ValueError\n\n"
        "@hookimpl\ndef specframe_drafters():\n    return [Odd()]",
        "returned <Odd, which cannot be shown> from specframe_drafters(), which is no Component",
    ),
    "one name twice": (
        "ONE = Component(name='one', summary='one', factory=print)\n\n"
        "@hookimpl\ndef specframe_drafters():\n    return [ONE, ONE]",
        "registers drafter 'one' twice",
    ),
    "a name that means something else": (
        "@hookimpl\ndef specframe_vocabularies():\n"
        "    return [Component(name='autoregressive', summary='one', factory=print)]",
        "calls a strategy 'autoregressive', which has a meaning of its own",
    ),
}


@pytest.mark.parametrize("case", MODULES)
def test_a_module_that_cannot_be_loaded_is_named_with_what_it_did(site: Path, case: str) -> None:
    source, expected = MODULES[case]
    install_plugin(site, "theirs", IMPORTS + source + "\n")
    assert complaint().startswith(expected)


FIELDS = {
    "an upper-case name": ("name='Theirs', summary='a', factory=print", "name 'Theirs'; allowed: lower-case"),
    "a name that is no text": ("name=3, summary='a', factory=print", "a component has the name 3"),
    "a name with a comma": ("name='a,b', summary='a', factory=print", "a component has the name 'a,b'"),
    "no summary": ("name='a', factory=print", "missing 1 required keyword-only argument: 'summary'"),
    "an empty summary": ("name='a', summary=' ', factory=print", "'a' has the summary ' '; allowed: a line"),
    "a summary of two lines": ("name='a', summary='b\\nc', factory=print", "'a' has the summary 'b\\nc'"),
    "a factory that cannot be called": (
        "name='a', summary='a', factory=3",
        "'a' has the factory 3; allowed: a function, or its name, 'package.module:function'",
    ),
    "a reference that is none": (
        "name='a', summary='a', factory='theirs.create'",
        "'theirs.create' refers to no function; allowed: 'package.module:function'",
    ),
    "supports as a text": (
        "name='a', summary='a', factory=print, supports=True",
        "'a' has the supports True; allowed: a function",
    ),
    "one kind of trees": (
        "name='a', summary='a', factory=print, trees='chain'",
        "'a' has the trees 'chain'; allowed: a tuple of top-k, chain, paths, without-replacement",
    ),
    "trees that nobody knows": ("name='a', summary='a', factory=print, trees=('tree',)", "'a' has the trees"),
    "lossy as a text": ("name='a', summary='a', factory=print, lossy='no'", "lossy 'no'; allowed: True or"),
    "a training without options": (
        "name='a', summary='a', factory=print, train=print",
        "'a' has the train_options None; allowed: an attrs class beside train",
    ),
    "an unknown field": ("name='a', summary='a', factory=print, fast=True", "unexpected keyword argument"),
    "options that are no class": (
        "name='a', summary='a', factory=print, options={}",
        "component 'a': options are {}; allowed: a class made with attrs.frozen",
    ),
    "options without attrs": (
        "name='a', summary='a', factory=print, options=int",
        "component 'a': options are <class 'int'>; allowed",
    ),
}


@pytest.mark.parametrize("case", FIELDS)
def test_a_component_with_a_field_of_no_use_names_its_distribution(site: Path, case: str) -> None:
    fields, expected = FIELDS[case]
    install_plugin(site, "theirs", IMPORTS + COMPONENT.format(body="", fields=fields))
    said = complaint()
    assert said.startswith("raised in specframe_vocabularies(): ")
    assert expected in said


DECLARATIONS = {
    "a field without option()": ("size: int = 3", "'size' of Options is not made with option()"),
    "a field with help alone": (
        "size: int = attrs.field(default=3, metadata={'help': 'x'})",
        "'size' of Options is not made with option()",
    ),
    "a bound that is not a number": (
        "size: float = option(1.0, help='x', minimum=float('nan'))",
        "'size' of Options has the bound nan; allowed: a number",
    ),
    "a field with attrs' own field": ("size: int = attrs.field(default=3)", "'size' of Options is not made"),
    "a list": (
        "sizes: list[int] = option(None, help='x')",
        "option 'sizes': list[int] is no type of one; allowed: int, float, bool, str, Path",
    ),
    "numbers as a Literal": ("size: Literal[1, 2] = option(1, help='x')", "is no type of one; allowed"),
    "a default below its minimum": (
        "size: int = option(0, help='x', minimum=1)",
        "'size' of Options has the default 0; allowed: integer >= 1",
    ),
    "a default above its maximum": ("size: float = option(2.0, help='x', maximum=1)", "allowed: number <= 1"),
    "a default of another type": (
        "size: int = option('3', help='x')",
        "'size' of Options has the default '3'; allowed: integer",
    ),
    "a float where an integer is asked for": ("size: int = option(1.0, help='x')", "has the default 1.0"),
    "true where an integer is asked for": ("size: int = option(True, help='x')", "has the default True"),
    "a number where true or false is": (
        "on: bool = option(1, help='x')",
        "the default 1; allowed: true|false",
    ),
    "none where it is not allowed": ("size: int = option(None, help='x')", "has the default None"),
    "a default that is no choice": (
        "mode: Literal['a', 'b'] = option('c', help='x')",
        "has the default 'c'; allowed: a|b",
    ),
    "a default that is not finite": ("size: float = option(float('inf'), help='x')", "has the default inf"),
    "a path as a text": ("file: Path = option('x', help='x')", "has the default 'x'; allowed: path"),
    "a value to try outside the bounds": (
        "size: int = option(2, help='x', maximum=4, tune=(2, 8))",
        "'size' of Options is to be tuned with 8; allowed: integer <= 4",
    ),
    "bounds the wrong way round": (
        "size: int = option(2, help='x', minimum=4, maximum=1)",
        "has the minimum 4 above the maximum 1",
    ),
    "a bound that is no number": ("size: int = option(2, help='x', minimum='1')", "has the bound '1'"),
    "no help": ("size: int = option(2, help='')", "'size' of Options has the help ''; allowed: a line"),
    "a name that cannot be typed": ("_size: int = option(2, help='x')", "'_size' of Options begins with an"),
    "an annotation of nothing": (
        "size: 'Nothing' = option(2, help='x')",
        "the annotations of Options cannot be read, NameError: name 'Nothing' is not defined",
    ),
}


@pytest.mark.parametrize("case", DECLARATIONS)
def test_an_option_of_no_use_names_its_distribution(site: Path, case: str) -> None:
    field, expected = DECLARATIONS[case]
    body = OPTIONS.format(decorator="@attrs.frozen", field=field)
    fields = "name='a', summary='a', factory=print, options=Options"
    install_plugin(site, "theirs", IMPORTS + COMPONENT.format(body=body, fields=fields))
    said = complaint()
    assert said.startswith("raised in specframe_vocabularies(): ValueError: component 'a': ")
    assert expected in said


def test_what_is_named_like_no_hook_is_left_alone(site: Path) -> None:
    source = "def helper(): pass\n\nimport specframe.registry as specframe_registry\n"
    install_plugin(site, "theirs", IMPORTS + source + STRATEGY.format(name="theirs"))
    assert "theirs" in build_registry(create_plugin_manager()).names("vocabulary")


def test_a_hook_of_another_version_may_be_optional(site: Path) -> None:
    source = "@hookimpl(optionalhook=True)\ndef specframe_later():\n    return []\n"
    install_plugin(site, "theirs", IMPORTS + source)
    build_registry(create_plugin_manager())


def test_an_entry_point_that_names_a_class_is_refused(site: Path) -> None:
    install_plugin(site, "theirs", "class Plugin: pass\n")
    entry_points = next(site.glob("*.dist-info")) / "entry_points.txt"
    entry_points.write_text("[specframe]\ntheirs = theirs:Plugin\n", encoding="utf-8")
    assert complaint() == (
        "is <class 'theirs.Plugin'>; allowed: a module, or an object whose methods are hooks"
    )


OBJECTS = {
    "whose attributes cannot be listed": (
        "def __dir__(self):\n        raise KeyError('x')",
        "raised when its list of attributes was looked at: KeyError: 'x'",
    ),
    "with a property that exits": (
        "@property\n    def more(self):\n        raise SystemExit(3)",
        "raised when more was looked at: SystemExit: 3",
    ),
    "that cannot be compared": (
        "def __eq__(self, other):\n        raise KeyError('x')",
        "cannot be registered: KeyError: 'x'",
    ),
}


@pytest.mark.parametrize("case", OBJECTS)
def test_an_odd_object_is_named_with_what_it_did(site: Path, case: str) -> None:
    body, expected = OBJECTS[case]
    install_plugin(site, "theirs", f"class Plugin:\n    {body}\n\nplugin = Plugin()\n")
    entry_points = site / "theirs-1.0.dist-info" / "entry_points.txt"
    entry_points.write_text("[specframe]\ntheirs = theirs:plugin\n", encoding="utf-8")
    assert complaint().startswith(expected)


def test_what_a_plugin_prints_while_it_is_imported_is_no_result(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_plugin(
        site, "theirs", f"{IMPORTS}print('hello')\n\n@hookimpl\ndef specframe_drafters():\n    return []\n"
    )
    create_plugin_manager()
    assert capsys.readouterr() == ("", "hello\n")


def test_an_object_may_have_no_hooks_this_time(site: Path) -> None:
    install_plugin(site, "theirs", "class Plugin:\n    pass\n\nplugin = Plugin()\n")
    entry_points = site / "theirs-1.0.dist-info" / "entry_points.txt"
    entry_points.write_text("[specframe]\ntheirs = theirs:plugin\n", encoding="utf-8")
    broken: list[PluginError] = []
    create_plugin_manager(broken=broken)
    assert broken == []


def test_an_entry_point_with_brackets_in_its_name_is_left_out_by_it(site: Path) -> None:
    install_plugin(site, "theirs", "1 / 0\n", entry_point="odd (specframe 1)")
    with pytest.raises(PluginError, match=r"set SPECFRAME_DISABLE_PLUGINS=odd \(specframe 1\) to go on"):
        create_plugin_manager()


def test_metadata_that_cannot_be_read_is_of_an_unnamed_plugin(site: Path) -> None:
    install_plugin(site, "theirs", "1 / 0\n")
    (site / "theirs-1.0.dist-info" / "METADATA").write_bytes(b"Name: th\xffeirs\n")
    with pytest.raises(PluginError, match=r"plugin theirs \(unnamed \?\) failed to import"):
        create_plugin_manager()


def test_an_entry_point_that_names_nothing_is_refused(site: Path) -> None:
    install_plugin(site, "theirs", "")
    entry_points = next(site.glob("*.dist-info")) / "entry_points.txt"
    entry_points.write_text("[specframe]\ntheirs = /somewhere/theirs.py\n", encoding="utf-8")
    assert complaint().startswith("has the entry point '/somewhere/theirs.py'; allowed: 'package.module'")


def test_two_entry_points_of_one_module_are_refused(site: Path) -> None:
    install_plugin(site, "theirs", STRATEGY.format(name="theirs"))
    entry_points = next(site.glob("*.dist-info")) / "entry_points.txt"
    entry_points.write_text("[specframe]\nother = theirs\ntheirs = theirs\n", encoding="utf-8")
    assert complaint() == "brings the same as plugin other (theirs 1.0)"


def test_entry_points_of_somebody_else_that_cannot_be_read_are_nobodys_plugin(site: Path) -> None:
    install_plugin(site, "theirs", "")
    entry_points = next(site.glob("*.dist-info")) / "entry_points.txt"
    entry_points.write_text("[console_scripts]\nnot a line of this file\n", encoding="utf-8")
    build_registry(create_plugin_manager())


def test_an_unknown_name_among_those_to_leave_out_gets_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DISABLE_VARIABLE, "specframe-buildin")
    assert complaint().startswith(
        "unknown plugin in SPECFRAME_DISABLE_PLUGINS 'specframe-buildin'; did you mean 'specframe-builtin'?"
    )


@pytest.fixture
def namesakes(site: Path) -> None:
    """Two distributions with one entry-point name."""
    for name in ("theirs-one", "theirs-two"):
        install_plugin(site, name, STRATEGY.format(name=name), entry_point="theirs")


@pytest.mark.usefixtures("namesakes")
def test_distributions_with_one_entry_point_name_both_come_in() -> None:
    assert {"theirs-one", "theirs-two"} <= set(build_registry(create_plugin_manager()).names("vocabulary"))


@pytest.mark.usefixtures("namesakes")
@pytest.mark.parametrize(
    ("disabled", "left"),
    [("theirs-one", {"theirs-two"}), ("Theirs_Two", {"theirs-one"}), ("theirs", set())],
)
def test_a_plugin_is_left_out_by_its_distribution_too(
    monkeypatch: pytest.MonkeyPatch, disabled: str, left: set[str]
) -> None:
    monkeypatch.setenv(DISABLE_VARIABLE, disabled)
    names = set(build_registry(create_plugin_manager()).names("vocabulary"))
    assert names & {"theirs-one", "theirs-two"} == left


@pytest.mark.usefixtures("namesakes")
def test_of_two_with_one_entry_point_name_the_broken_one_is_left_out_by_its_distribution(site: Path) -> None:
    (site / "theirs_one.py").write_text("1 / 0\n")
    with pytest.raises(
        PluginError, match=r"theirs \(theirs-one 1\.0\) .*; set \w+=theirs-one to go on without"
    ):
        create_plugin_manager()


def test_who_can_do_without_a_broken_plugin_gets_the_others_and_the_error(site: Path) -> None:
    install_plugin(site, "broken-one", "1 / 0\n")
    install_plugin(site, "broken-two", IMPORTS + "@hookimpl\ndef specframe_drafters(): pass\n")
    install_plugin(site, "theirs", STRATEGY.format(name="theirs"))
    broken: list[PluginError] = []
    registry = build_registry(create_plugin_manager(broken=broken), broken)
    assert {"nanospec", "theirs"} <= set(registry.names("vocabulary"))
    assert [error.plugin for error in broken] == [
        "broken-one (broken-one 1.0)",
        "broken-two (broken-two 1.0)",
    ]


def test_nothing_of_a_broken_plugin_is_registered(site: Path) -> None:
    source = STRATEGY.format(name="theirs") + "\n@hookimpl\ndef specframe_verifiers():\n    return [3]\n"
    install_plugin(site, "theirs", source)
    broken: list[PluginError] = []
    manager = create_plugin_manager()
    assert "theirs" not in build_registry(manager, broken).names("vocabulary")
    assert not manager.has_plugin(broken[0].plugin)


def test_of_two_with_one_component_the_one_that_is_not_ours_is_at_fault(site: Path) -> None:
    install_plugin(site, "a-theirs", STRATEGY.format(name="nanospec"))
    broken: list[PluginError] = []
    registry = build_registry(create_plugin_manager(), broken)
    assert [error.plugin for error in broken] == ["a-theirs (a-theirs 1.0)"]
    assert registry.registration("vocabulary", "nanospec").distribution.startswith("specframe-builtin")

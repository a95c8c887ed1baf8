"""A component's functions may be given by name; what such a name leads to is its plugin's affair."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from stranger import install_plugin

import specframe_plugins
from specframe.contracts.faults import ComponentError
from specframe.errors import UsageError
from specframe.registry.components import Component
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe.registry.reference import Reference

PLUGIN = """
from specframe.registry.components import Component
from specframe.registry.hookspecs import hookimpl

@hookimpl
def specframe_drafters():
    return [Component(name="theirs", summary="a stranger's", factory={factory!r})]
"""


IMPORT = "from specframe.errors import UsageError"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of sys.path where distributions can be installed."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def theirs(site: Path, factory: str, code: str = "") -> Component:
    """Return the component of a stranger whose code is in a file of its own."""
    install_plugin(site, "theirs", PLUGIN.format(factory=factory))
    sys.modules.pop("their_code", None)
    (site / "their_code.py").write_text(code, encoding="utf-8")
    return build_registry(create_plugin_manager()).get("drafter", "theirs")


def test_the_code_is_imported_when_the_component_is_built(site: Path) -> None:
    component = theirs(
        site, "their_code:create", "def create(options, context):\n    raise UsageError(options)\n" + IMPORT
    )
    assert "their_code" not in sys.modules
    with pytest.raises(UsageError, match="the options"):
        component.factory("the options", None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("factory", "code", "complaint"),
    [
        (
            "no_such_code:create",
            "",
            "cannot be imported: ModuleNotFoundError: No module named",
        ),
        ("their_code:create", "", "cannot be imported: AttributeError: module 'their_code' has no attribute"),
        ("their_code:create", "import sys\nsys.exit(1)", "cannot be imported: SystemExit: 1"),
        ("their_code:create", "create = 3", "is 3, which cannot be called"),
    ],
)
def test_a_name_that_leads_nowhere_names_the_distribution(
    site: Path, factory: str, code: str, complaint: str
) -> None:
    component = theirs(site, factory, code)
    with pytest.raises(ComponentError) as error:  # a run with --fallback goes on without it
        component.factory(None, None)  # type: ignore[arg-type]
    assert str(error.value).startswith(
        f"drafter 'theirs' (theirs 1.0) has no factory(): plugin theirs (theirs 1.0) refers to {factory}, "
        f"which {complaint}"
    )
    assert str(error.value).endswith("; set SPECFRAME_DISABLE_PLUGINS=theirs to go on without it")


@pytest.mark.parametrize("text", ["create", "their_code.create", "their_code:", ":create", "a b:c", "a:b.c"])
def test_a_text_of_another_form_is_no_reference(text: str) -> None:
    with pytest.raises(ValueError, match=r"refers to no function; allowed: 'package\.module:function'"):
        Reference.of(text)


def references(declaration: Any) -> Iterator[Reference]:
    for field in attrs.fields(type(declaration)):
        value = getattr(declaration, field.name)
        if isinstance(value, Reference):
            yield value
        elif attrs.has(type(value)):
            yield from references(value)


def test_whatever_the_built_in_components_refer_to_is_there() -> None:
    components = [
        *specframe_plugins.specframe_vocabularies(),
        *specframe_plugins.specframe_gather_backends(),
        *specframe_plugins.specframe_drafters(),
        *specframe_plugins.specframe_verifiers(),
    ]
    found = [reference for component in components for reference in references(component)]
    assert len(found) > 30
    for reference in found:
        assert callable(reference.resolve())

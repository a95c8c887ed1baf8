"""docs/hooks.md documents every hook under its own heading with its exact signature, and no other.

The kinds of components stand in one table, whose names lead to hooks, contracts and checks that exist.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from specframe import testing
from specframe.config import RunConfig
from specframe.contracts import protocols
from specframe.contracts.kinds import KINDS, Kind
from specframe.registry import hookspecs
from specframe.registry.components import Component

DOCS = (Path(__file__).parents[3] / "docs" / "hooks.md").read_text(encoding="utf-8")
HOOKS = {
    name: function
    for name, function in inspect.getmembers(hookspecs, inspect.isfunction)
    if hasattr(function, f"{hookspecs.PROJECT_NAME}_spec")
}
# A hook's own section: from its heading to the next one.
SECTIONS = dict(re.findall(r"^### (specframe_\w+)\n(.*?)(?=^##|\Z)", DOCS, flags=re.MULTILINE | re.DOTALL))


def signature(function: Callable[..., Any]) -> str:
    return f"def {function.__name__}{inspect.signature(function)}".replace("'", "")


def test_the_hooks_are_found() -> None:
    assert "specframe_vocabularies" in HOOKS


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented_with_its_signature(name: str) -> None:
    assert f"```python\n{signature(HOOKS[name])}\n```" in SECTIONS.get(name, "(no section)")


def test_no_hook_is_documented_that_does_not_exist() -> None:
    assert set(SECTIONS) == set(HOOKS)


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_says_more_than_its_signature(name: str) -> None:
    prose = re.sub(r"```.*?```", "", SECTIONS[name], flags=re.DOTALL)
    assert len(prose.split()) >= 8


@pytest.mark.parametrize("kind", KINDS)
def test_the_section_of_a_kinds_hook_names_what_its_factories_return(kind: Kind) -> None:
    assert f"`{KINDS[kind].protocol}`" in SECTIONS[KINDS[kind].hook]
    assert KINDS[kind].protocol in str(HOOKS[KINDS[kind].hook].__doc__)


@pytest.mark.parametrize("kind", KINDS)
def test_the_names_of_a_kind_lead_to_a_setting_a_contract_and_a_check(kind: Kind) -> None:
    assert KINDS[kind].setting in attrs.fields_dict(RunConfig)
    assert hasattr(protocols, KINDS[kind].protocol)
    assert callable(getattr(testing, KINDS[kind].check))


@pytest.mark.parametrize("field", attrs.fields_dict(Component))
def test_every_field_of_a_component_is_documented(field: str) -> None:
    table = DOCS.partition("### A component")[2].partition("### Diagnosing")[0]
    assert re.search(rf"^\| .*`{field}`.* \|", table, flags=re.MULTILINE)

"""docs/hooks.md documents every hook under its own heading with its exact signature, and no other."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from specframe.registry import hookspecs

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

"""Names are unique within a kind; unknown names get the nearest one."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from specframe.errors import PluginError, UsageError
from specframe.registry.components import Component
from specframe.registry.registry import Registry


@attrs.frozen
class NoOptions:
    """Nothing to choose."""


def component(name: str) -> Component:
    def create(options: Any, context: Any) -> Any:
        raise NotImplementedError

    return Component(name=name, summary="for tests", options=NoOptions, factory=create)


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    for name in ("static", "full", "nanospec"):
        registry.register("vocabulary", component(name), "ours 1.0")
    return registry


def test_a_name_finds_its_component(registry: Registry) -> None:
    assert registry.get("vocabulary", "full").name == "full"


def test_an_unknown_name_gets_the_nearest_one_and_all_of_them(registry: Registry) -> None:
    expected = "unknown strategy 'nanospc'; did you mean 'nanospec'? known: full, nanospec, static"
    with pytest.raises(UsageError) as error:
        registry.get("vocabulary", "nanospc")
    assert str(error.value) == expected


def test_a_name_far_from_all_others_gets_no_suggestion(registry: Registry) -> None:
    with pytest.raises(UsageError) as error:
        registry.get("vocabulary", "zzz")
    assert str(error.value) == "unknown strategy 'zzz'; known: full, nanospec, static"


def test_an_unknown_kind_is_refused(registry: Registry) -> None:
    with pytest.raises(UsageError, match="unknown kind 'draftr'; did you mean 'drafter'"):
        registry.find("draftr", "eagle")


def test_a_kind_is_found_by_its_setting_too(registry: Registry) -> None:
    assert registry.find("strategy", "full") == registry.find("vocabulary", "full")


def test_a_name_taken_twice_names_both_distributions(registry: Registry) -> None:
    with pytest.raises(PluginError, match=r"'full' is registered by both ours 1\.0 and theirs 2\.0"):
        registry.register("vocabulary", component("full"), "theirs 2.0")


def test_one_name_may_be_used_by_two_kinds(registry: Registry) -> None:
    registry.register("drafter", component("full"), "theirs 2.0")
    assert registry.registration("drafter", "full").distribution == "theirs 2.0"


def test_everything_is_listed_by_kind_and_name(registry: Registry) -> None:
    registry.register("drafter", component("eagle"), "ours 1.0")
    listed = [(entry.kind, entry.component.name) for entry in registry.registrations()]
    assert listed == [
        ("vocabulary", "full"),
        ("vocabulary", "nanospec"),
        ("vocabulary", "static"),
        ("drafter", "eagle"),
    ]

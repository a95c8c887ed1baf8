from __future__ import annotations

import pytest

from specframe.errors import UsageError
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe.registry.registry import Registry
from specframe_vllm.settings import VARIABLE, Asked, asked_values


@pytest.fixture(scope="module")
def registry() -> Registry:
    return build_registry(create_plugin_manager())


def test_without_settings_nothing_is_asked_for() -> None:
    assert asked_values({}) is None


def test_settings_come_from_the_engine() -> None:
    assert asked_values({"specframe": {"strategy": "static"}}) == {"strategy": "static"}


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, '{"capacity": 512}')
    assert asked_values({}) == {"capacity": 512}


def test_settings_of_the_engine_count_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, '{"capacity": 512}')
    assert asked_values({"specframe": {"capacity": 64}}) == {"capacity": 64}


def test_an_empty_object_asks_for_the_defaults(registry: Registry) -> None:
    asked = Asked.of({}, registry)
    assert (asked.settings.strategy, asked.settings.sets, asked.options.core) == ("nanospec", "shared", None)


def test_what_is_not_the_plugins_own_belongs_to_the_strategy(registry: Registry) -> None:
    assert Asked.of({"sets": "per_request", "capacity": 3072}, registry).options.capacity == 3072


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strategy": "nanospc"}, "unknown strategy 'nanospc'; did you mean 'nanospec'?"),
        ({"capcity": 1}, "unknown setting of strategy 'nanospec' 'capcity'; did you mean 'capacity'?"),
        ({"set": "shared"}, "did you mean 'sets'?"),
        ({"capacity": 0}, "option capacity of strategy 'nanospec' is 0; allowed: integer >= 1"),
        ({"sets": "each"}, "option sets of specframe-vllm is 'each'; allowed: shared|per_request"),
        ({"drafts": "never"}, "option drafts of specframe-vllm is 'never'; allowed: auto|always"),
        ({"gather": "torhc"}, "unknown gather backend 'torhc'; did you mean 'torch'?"),
        ({"memory": -1}, "option memory of specframe-vllm is -1; allowed: number >= 0"),
        ({"memory": None}, "option memory of specframe-vllm is None; allowed: number >= 0"),
        ({"capacity": {}}, "option capacity of strategy 'nanospec' is {}; allowed: integer >= 1"),
        ({"gather": "trch"}, "unknown gather backend 'trch'; did you mean 'torch'?"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    registry: Registry, values: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError) as error:
        Asked.of(values, registry)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "written",
    ["nanospec", "[1]", "3", "[" * 100_000, '{"capacity": ' + "9" * 5000 + "}"],
    ids=["no JSON", "a list", "a number", "too many brackets", "too many digits"],
)
def test_settings_that_are_no_object_are_refused(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv(VARIABLE, written)
    with pytest.raises(UsageError, match=VARIABLE):
        asked_values({})

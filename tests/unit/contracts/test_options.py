"""Options are converted by their annotation, checked against their bounds, and described."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

from specframe.contracts.options import build_options, describe, option
from specframe.errors import UsageError


@attrs.frozen(kw_only=True)
class Options:
    """One option of every type."""

    capacity: int = option(8, help="slots", unit="tokens", minimum=1, maximum=100)
    share: float = option(0.5, help="share kept", minimum=0, maximum=1)
    context: bool = option(True, help="admit the context")
    eviction: Literal["fifo", "lru"] = option("fifo", help="what leaves")
    file: Path | None = option(None, help="frequencies")
    label: str = option("x", help="a name")
    depth: int | None = option(None, help="levels", minimum=0)


@attrs.frozen(kw_only=True)
class Required:
    """An option without a default."""

    file: Path = option(help="where the weights are")


def build(**values: Any) -> Options:
    built = build_options(Options, values, "strategy 'test'")
    assert isinstance(built, Options)
    return built


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("capacity", "16", 16),
        ("capacity", 16, 16),
        ("share", "0.25", 0.25),
        ("share", 1, 1.0),
        ("context", "false", False),
        ("context", False, False),
        ("eviction", "lru", "lru"),
        ("file", "a/b.json", Path("a/b.json")),
        ("file", "none", None),
        ("label", "with spaces", "with spaces"),
        ("depth", "3", 3),
        ("depth", "none", None),
    ],
)
def test_a_value_becomes_what_the_annotation_says(name: str, typed: object, value: object) -> None:
    assert getattr(build(**{name: typed}), name) == value


def test_what_is_not_given_keeps_its_default() -> None:
    assert build() == Options()


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("capacity", "many"),
        ("capacity", "1.5"),
        ("capacity", 1.5),
        ("capacity", True),
        ("capacity", "none"),
        ("capacity", {}),
        ("share", None),
        ("share", [0.5]),
        ("capacity", "0"),
        ("capacity", "101"),
        ("share", "1.5"),
        ("share", "half"),
        ("share", "nan"),
        ("context", "perhaps"),
        ("eviction", "random"),
        ("depth", "-1"),
        ("depth", "deep"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_the_option_and_its_owner(name: str, typed: object) -> None:
    with pytest.raises(UsageError, match=rf"^option {name} of strategy 'test' is .*; allowed: ."):
        build(**{name: typed})


def test_an_unknown_option_gets_the_nearest_name() -> None:
    with pytest.raises(
        UsageError, match="unknown option of strategy 'test' 'capacty'; did you mean 'capacity'"
    ):
        build(capacty="8")


def test_a_required_option_left_out_is_named_with_its_help() -> None:
    with pytest.raises(UsageError, match="drafter 'd' needs option file: where the weights are"):
        build_options(Required, {}, "drafter 'd'")


def test_a_class_that_refuses_its_values_is_heard() -> None:
    @attrs.frozen
    class Picky:
        low: int = option(1, help="low")

        def __attrs_post_init__(self) -> None:
            if self.low > 5:
                raise ValueError("low must not be above 5")

    # Annotations are looked up by name in this module, where a local class has none of its own.
    with pytest.raises(UsageError, match="options of it: low must not be above 5"):
        build_options(Picky, {"low": "6"}, "it")


def test_a_type_that_option_does_not_know_is_the_programmers_mistake() -> None:
    @attrs.frozen
    class Strange:
        ids: list[int] = option(None, help="ids")

    with pytest.raises(TypeError, match="'ids'"):
        describe(Strange)


def test_every_option_is_described_with_type_default_unit_and_help() -> None:
    described = {
        info.name: (info.type_name, info.default, info.unit, info.help) for info in describe(Options)
    }
    assert described["capacity"] == ("integer >= 1 <= 100", "8", "tokens", "slots")
    assert described["eviction"] == ("fifo|lru", "fifo", "", "what leaves")
    assert described["context"][:2] == ("true|false", "true")
    assert described["file"][:2] == ("path or none", "none")


def test_a_required_option_is_described_as_such() -> None:
    assert describe(Required)[0].default == "(required)"


def test_a_field_that_a_class_works_out_for_itself_is_no_option() -> None:
    @attrs.frozen
    class Doubled:
        size: int = option(3, help="x")
        twice: int = attrs.field(init=False, default=6)

    assert [one.name for one in describe(Doubled)] == ["size"]
    with pytest.raises(UsageError, match="unknown option of strategy 'test' 'twice'; known: size"):
        build_options(Doubled, {"twice": 4}, "strategy 'test'")

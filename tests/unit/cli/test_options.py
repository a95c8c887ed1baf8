"""Flags follow from declarations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import typer

from specframe.cli.options import takes_options
from specframe.config import RunConfig
from specframe.contracts.options import option, same_option


@attrs.frozen(kw_only=True)
class Declared:
    """One option of every shape."""

    file: Path = option(help="Where it is.", metavar="FILE")
    names: Sequence[str] = option((), help="Names.", flags=("-n", "--names"), absent="all", metavar="NAME")
    ids: Sequence[int] = option((), help="Ids.", metavar="ID")
    size: int = option(3, help="Size.", minimum=1, metavar="N")
    limit: int | None = option(None, help="Limit.", absent="none at all", metavar="N")
    quick: bool = option(False, help="Hurry.")
    wrapped: bool | None = option(None, help="Wrap.", flags=("--wrap/--raw",))
    hidden: int = option(5, help="Not on the command line.", flags=None)
    undeclared: int = 7


@attrs.frozen(kw_only=True)
class Other:
    """Shares an option."""

    size: int = same_option(Declared, "size", default=4)


def called(command: Callable[..., Any], *arguments: str) -> Any:
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command()(command)
    return app(list(arguments), standalone_mode=False)


def given(*arguments: str) -> Declared:
    seen: list[Declared] = []

    @takes_options
    def command(declared: Declared, extra: int = 1) -> None:
        seen.append(declared)

    called(command, *arguments)
    return seen[0]


def test_what_is_not_typed_keeps_its_default() -> None:
    assert given("a") == Declared(file=Path("a"))


def test_every_shape_can_be_typed() -> None:
    typed = given(
        "a", "-n", "x", "--names", "y", "--ids", "4", "--size", "9", "--limit", "2", "--quick", "--raw"
    )
    assert typed == Declared(
        file=Path("a"), names=["x", "y"], ids=[4], size=9, limit=2, quick=True, wrapped=False
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Missing argument"),
        (["a", "--size", "0"], "greater than or equal to 1"),
        (["a", "--no-quick"], "No such option"),
        (["a", "--hidden", "3"], "No such option"),
        (["a", "--undeclared", "3"], "No such option"),
    ],
)
def test_what_the_declaration_does_not_allow_is_refused(arguments: list[str], complaint: str) -> None:
    with pytest.raises(typer.exceptions.TyperException) as error:
        given(*arguments)
    assert complaint in error.value.format_message()


def test_the_help_says_what_happens_without_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    @partial(takes_options, without=("quick",))
    def command(declared: Declared, other: RunConfig) -> None: ...

    called(command, "--help")
    shown = " ".join(capsys.readouterr().out.split())
    for line in (
        "-n, --names NAME Names. [default: all]",
        "--ids ID Ids. --size",
        "--size N Size. [default: 3; x>=1]",
        "--limit N Limit. [default: none at all]",
        "--wrap / --raw Wrap.",
        "--fallback / --no-fallback Go on without drafting when a component fails that drafts. "
        "[default: --no-fallback]",
        "--temperature T Divides the target's logits; 0 decodes greedily, above 0 samples. [default: 0.0]",
    ):
        assert line in shown
    assert "--quick" not in shown


def test_an_option_may_be_the_same_as_another_classs() -> None:
    seen: list[int] = []

    @takes_options
    def command(other: Other) -> None:
        seen.append(other.size)

    called(command)
    with pytest.raises(typer.exceptions.TyperException, match="greater than or equal to 1"):
        called(command, "--size", "0")
    assert seen == [4]

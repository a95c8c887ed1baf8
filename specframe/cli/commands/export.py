"""``specframe export``: what other engines load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import attrs
import typer

from specframe.cli.options import takes_options
from specframe.config import RunConfig
from specframe.contracts.options import option, same_option

export_app = typer.Typer(help="Write what other engines load.", rich_markup_mode=None)


@attrs.frozen(slots=True, kw_only=True)
class HeadArguments:
    """Which target a head belongs to."""

    model: str | None = same_option(
        RunConfig, "model", default=None, absent="the one that the head was trained for"
    )


@attrs.frozen(slots=True, kw_only=True)
class MapArguments:
    """Which strategy a token map is made of, and for which target."""

    model: str | None = same_option(RunConfig, "model", default=None)
    assignments: Sequence[str] = option(
        (),
        help="Option of the strategy; repeatable. `specframe plugins show vocabulary NAME` lists them.",
        flags=("-o", "--option"),
        metavar="NAME=VALUE",
    )


@export_app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@export_app.command("vllm")
@takes_options
def export_vllm(
    head: Annotated[str, typer.Argument(metavar="HEAD", help="Name of a head that ships, or its directory.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Directory to write.")],
    *,
    arguments: HeadArguments,
) -> None:
    """Write an EAGLE head as a draft model for vLLM.

    Prints the options that vLLM loads both models with. It needs the package specframe-vllm for that.
    """
    from specframe.cli.exporting import export_head

    print(export_head(head, out, arguments.model))


@export_app.command("sglang")
@takes_options
def export_sglang(
    strategy: Annotated[str, typer.Argument(metavar="STRATEGY", help="A strategy of a fixed active set.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write.")],
    *,
    arguments: MapArguments,
) -> None:
    """Write the active set of a strategy as a token map for SGLang.

    SGLang takes it with --speculative-token-map.
    """
    from specframe.cli.exporting import export_token_map

    print(export_token_map(strategy, out, arguments.model, arguments.assignments))

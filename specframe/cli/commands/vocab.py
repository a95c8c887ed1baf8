"""``specframe vocab``: maps of frequent tokens, this project's and others', and screens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import attrs
import typer

from specframe.bench.command import BenchArguments
from specframe.cli.options import resolve_config, takes_options
from specframe.config import OFF, RunConfig
from specframe.contracts.options import option, same_option

vocab_app = typer.Typer(
    help="Build, convert, inspect and cut maps of tokens; make and inspect screens.", rich_markup_mode=None
)

In = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="Token frequencies, an index list of FR-Spec or SGLang, or d2t and t2d of EAGLE-3, also "
        "inside a checkpoint or its directory.",
    ),
]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="File to write; its name says the form.")]


@attrs.frozen(slots=True, kw_only=True)
class ModelArguments:
    """Whose tokens a map is about."""

    model: str | None = same_option(RunConfig, "model", default=None)


@attrs.frozen(slots=True, kw_only=True)
class InArguments:
    """How a map is read."""

    holds: Literal["ids", "offsets"] | None = option(
        None,
        help="What bare integers are: ids, or offsets of ids from rows (d2t).",
        absent="what the names in the file or its own say; else ids",
        metavar="ids|offsets",
    )


@attrs.frozen(slots=True, kw_only=True)
class OutArguments:
    """How a map is written."""

    form: Literal["safetensors", "json", "pt", "d2t"] | None = option(
        None,
        help="safetensors and json keep counts; pt is the index list of FR-Spec and SGLang; d2t has "
        "EAGLE-3's d2t and t2d as safetensors.",
        absent="what the name of OUT says",
        metavar="safetensors|json|pt|d2t",
    )


@attrs.frozen(slots=True, kw_only=True)
class TextArguments:
    """What coverage is measured on."""

    text: Path | None = option(None, help="UTF-8 text to say the coverage of.", absent="none", metavar="FILE")


@attrs.frozen(slots=True, kw_only=True)
class CountArguments:
    """What is counted."""

    text: Path | None = option(None, help="UTF-8 text to count.", absent="none", metavar="FILE")
    tasks: Path | None = same_option(
        BenchArguments,
        "tasks",
        help="Task prompts to count, or to let the target answer with --from-target.",
        absent="none, or built-in prompts with --from-target",
    )
    from_target: bool = option(False, help="Count what the target itself writes on the prompts.")
    limit_per_task: int | None = same_option(BenchArguments, "limit_per_task", help="Prompts per task.")
    skip_per_task: int = same_option(BenchArguments, "skip_per_task")
    max_new_tokens: int = option(
        128, help="Length limit of an answer with --from-target, tokens.", minimum=1, metavar="N"
    )


@attrs.frozen(slots=True, kw_only=True)
class ScreenArguments:
    """Which screen is made."""

    strategy: str = same_option(RunConfig, "strategy", default="lowrank", help="Strategy with the screen.")
    drafter: str = same_option(RunConfig, "drafter")
    device: str = same_option(RunConfig, "device", absent=RunConfig().device)
    assignments: Sequence[str] = option(
        (),
        help="Option of a component, for example vocabulary.rank=64. Repeatable.",
        flags=("-o", "--option"),
        metavar="KIND.NAME=VALUE",
    )


@vocab_app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@vocab_app.command("build")
@takes_options
def vocab_build(out: Out, *, counted: CountArguments, of: ModelArguments, written: OutArguments) -> None:
    """Count tokens in a text, in task prompts, or in what the target writes."""
    from specframe.cli.token_maps import Counting, NewFile, build

    print(build(NewFile(out, written.form), of.model, Counting(**attrs.asdict(counted))))


@vocab_app.command("convert")
@takes_options
def vocab_convert(
    file: In,
    out: Out,
    *,
    of: ModelArguments,
    read: InArguments,
    written: OutArguments,
    on: TextArguments,
) -> None:
    """Write a map in another form, with the ids that every drafter needs."""
    from specframe.cli.token_maps import MapFile, NewFile, convert

    print(convert(MapFile(file, of.model, read.holds), NewFile(out, written.form), on.text))


@vocab_app.command("inspect")
@takes_options
def vocab_inspect(file: In, *, of: ModelArguments, read: InArguments, on: TextArguments) -> None:
    """Say what a map holds, what it lacks, and how much of a text it covers; or what a screen is of."""
    from specframe.cli.screens import inspect_screen
    from specframe.cli.token_maps import MapFile, inspect
    from specframe.errors import UsageError
    from specframe.ops.tables import print_table

    screen = inspect_screen(file, of.model)
    if screen is None:
        print_table(inspect(MapFile(file, of.model, read.holds), on.text))
        return
    if on.text is not None or read.holds is not None:
        raise UsageError(f"{file} is a screen and no map; allowed: no --text and no --holds")
    print_table(screen)


@vocab_app.command("slice")
@takes_options
def vocab_slice(
    file: In,
    out: Out,
    *,
    size: Annotated[
        str,
        typer.Option(
            metavar="N|SHARE",
            help="Tokens to keep, or with a point, for example 0.99, the share of the counted tokens that "
            "they cover.",
        ),
    ],
    of: ModelArguments,
    read: InArguments,
    written: OutArguments,
    on: TextArguments,
) -> None:
    """Write the most frequent part of a map, with the ids that every drafter needs."""
    from specframe.cli.token_maps import MapFile, NewFile, cut

    print(cut(MapFile(file, of.model, read.holds), NewFile(out, written.form), size, on.text))


@vocab_app.command("screen")
@takes_options
def vocab_screen(made: ScreenArguments, of: ModelArguments) -> None:
    """Make what a strategy's screen needs before a run does, and say what the screen finds.

    Hidden states come from drafting built-in prompts; they and what is fitted to them are kept in the cache
    folder.
    """
    from specframe.cli.screens import build_screen
    from specframe.ops.tables import print_table

    settings = {"model": of.model, "strategy": made.strategy, "drafter": made.drafter, "device": made.device}
    alone = {"dtype": "float32", "costs": OFF, "cuda_graph": False}
    print_table(build_screen(resolve_config(settings | alone, made.assignments)))

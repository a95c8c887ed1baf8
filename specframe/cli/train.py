"""`specframe train` and what it keeps: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from specframe.cli.options import DEFAULTS, ModelOption
from specframe.errors import UsageError

train_app = typer.Typer(rich_markup_mode=None)
data_app = typer.Typer(help="List, merge and top up training data.", rich_markup_mode=None)
train_app.add_typer(data_app, name="data")

DrafterOption = Annotated[str, typer.Option("--drafter", metavar="NAME", help="What to train.")]
AssignmentsOption = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--option",
        metavar="NAME=VALUE",
        help="Option of the training; repeatable. `specframe plugins show drafter NAME` lists them.",
    ),
]
FoldersArgument = Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Folders of training data.")]


@train_app.callback(invoke_without_command=True)
def train(
    context: typer.Context,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the checkpoint goes; required.")
    ] = None,
    drafter: DrafterOption = DEFAULTS["drafter"],
    model: ModelOption = None,
    assignments: AssignmentsOption = None,
) -> None:
    """Train a drafter for a target.

    The checkpoint is then used with `-o drafter.checkpoint=DIR`.
    """
    if context.invoked_subcommand is not None:
        return
    if out is None:
        raise UsageError("Missing option '--out'; allowed: a directory for the checkpoint")
    from specframe.cli.training import train_drafter
    from specframe.config import split_assignment

    train_drafter(drafter, model, out, dict(map(split_assignment, assignments or ())))


@data_app.command("list")
def data_list(folders: FoldersArgument, drafter: DrafterOption = DEFAULTS["drafter"]) -> None:
    """Say what folders of training data hold."""
    from specframe.cli.training import describe_data
    from specframe.ops.tables import print_table

    columns, rows = describe_data(drafter, folders)
    print_table(rows, headers=columns)


@data_app.command("merge")
def data_merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that gets everything.")],
    folders: FoldersArgument,
    share: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Share of the conversations, above 0 and at most 1; a smaller one is part of a larger one.",
        ),
    ] = 1.0,
    drafter: DrafterOption = DEFAULTS["drafter"],
) -> None:
    """Copy the training data of several folders into one; what is there already is not copied again."""
    from specframe.cli.training import merge_data

    print(f"{out} has {merge_data(drafter, out, folders, share):,} tokens")


@data_app.command("top-up")
def data_top_up(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of training data.")],
    drafter: DrafterOption = DEFAULTS["drafter"],
    model: ModelOption = None,
    assignments: AssignmentsOption = None,
) -> None:
    """Let the target write conversations until the folder has `-o tokens=N`; goes on where it was stopped."""
    from specframe.cli.training import top_up_data
    from specframe.config import split_assignment

    tokens = top_up_data(drafter, model, folder, dict(map(split_assignment, assignments or ())))
    print(f"{folder} has {tokens:,} tokens")

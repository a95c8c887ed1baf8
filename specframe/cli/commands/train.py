"""``specframe train``, and what it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import attrs
import typer

from specframe.cli.options import takes_options
from specframe.config import DEFAULT_DRAFTER, RunConfig
from specframe.contracts.options import option, same_option
from specframe.contracts.records import check_folder_place
from specframe.errors import UsageError

train_app = typer.Typer(rich_markup_mode=None)
data_app = typer.Typer(help="List, merge and top up training data.", rich_markup_mode=None)
train_app.add_typer(data_app, name="data")

Folders = Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Folders of training data.")]


@attrs.frozen(slots=True, kw_only=True)
class DrafterArguments:
    """Whose training it is."""

    drafter: str = option(DEFAULT_DRAFTER, help="What to train.", metavar="NAME")


@attrs.frozen(slots=True, kw_only=True)
class TrainArguments:
    """What the training goes by."""

    model: str | None = same_option(RunConfig, "model", default=None)
    assignments: Sequence[str] = option(
        (),
        help="Option of the training; repeatable. `specframe plugins show drafter NAME` lists them.",
        flags=("-o", "--option"),
        metavar="NAME=VALUE",
    )


@train_app.callback(invoke_without_command=True)
@takes_options
def train(
    context: typer.Context,
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the checkpoint goes; required.")
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Hub repository that gets the checkpoint and its card."),
    ] = None,
    of: DrafterArguments,
    arguments: TrainArguments,
) -> None:
    """Train a drafter for a target.

    The checkpoint is then used with `-o drafter.checkpoint=DIR`, and a pushed one with
    `-o drafter.checkpoint=OWNER/NAME`.
    """
    if context.invoked_subcommand is not None:
        return
    if out is None:
        raise UsageError("Missing option '--out'; allowed: a directory for the checkpoint")
    from specframe.cli.training import train_request, trainable

    component = trainable(of.drafter)
    assert component.train is not None
    request = train_request(component, arguments.model, out, arguments.assignments)
    if push is None:
        component.train(request)
        return
    from specframe.cli import pushing

    pushing.open_repository(push)
    component.train(request)
    print(f"pushed: {pushing.push(out, push)}")


@data_app.command("list")
@takes_options
def data_list(folders: Folders, of: DrafterArguments) -> None:
    """Say what folders of training data hold."""
    from specframe.cli.training import data_commands
    from specframe.ops.tables import print_table

    columns, rows = data_commands(of.drafter).describe(folders)
    print_table(rows, headers=columns)


@data_app.command("merge")
@takes_options
def data_merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that gets everything.")],
    folders: Folders,
    *,
    share: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Share of the conversations, above 0 and at most 1; a smaller one is part of a larger one.",
        ),
    ] = 1.0,
    of: DrafterArguments,
) -> None:
    """Copy the training data of several folders into one; what is there already is not copied again."""
    from specframe.cli.training import data_commands

    check_folder_place(out)
    if not 0 < share <= 1:
        raise UsageError(f"share is {share:g}; allowed: above 0, at most 1")
    print(f"{out} has {data_commands(of.drafter).merge(out, folders, share):,} tokens")


@data_app.command("top-up")
@takes_options
def data_top_up(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of training data.")],
    of: DrafterArguments,
    arguments: TrainArguments,
) -> None:
    """Let the target write conversations until the folder has `-o tokens=N`; goes on where it was stopped."""
    from specframe.cli.training import data_commands, train_request, trainable

    check_folder_place(folder)
    commands = data_commands(of.drafter)
    tokens = commands.top_up(
        train_request(trainable(of.drafter), arguments.model, folder, arguments.assignments)
    )
    print(f"{folder} has {tokens:,} tokens")

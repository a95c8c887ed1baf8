"""``specframe plugins``."""

from __future__ import annotations

from typing import Annotated

import typer

from specframe.cli.options import takes_options
from specframe.contracts.kinds import KINDS

plugins_app = typer.Typer(help="Show the installed components.", rich_markup_mode=None)
*_FIRST, _LAST = KINDS


@plugins_app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@plugins_app.command("list")
@takes_options
def plugins_list() -> None:
    """List the components and where they come from."""
    from specframe.ops.tables import print_table
    from specframe.registry.manager import build_registry, create_plugin_manager

    print_table(
        [
            (entry.kind, entry.component.name, entry.component.summary, entry.distribution)
            for entry in build_registry(create_plugin_manager()).registrations()
        ],
        headers=("kind", "name", "what it is", "plugin"),
    )


@plugins_app.command("show")
@takes_options
def plugins_show(
    kind: Annotated[str, typer.Argument(help=f"{', '.join(_FIRST)} or {_LAST}.")],
    name: Annotated[str, typer.Argument(help="As `specframe plugins list` has it.")],
) -> None:
    """Show one component and its options."""
    from specframe.contracts.options import describe
    from specframe.ops.tables import print_table
    from specframe.registry.manager import build_registry, create_plugin_manager

    entry = build_registry(create_plugin_manager()).find(kind, name)
    component = entry.component
    print(f"{component.name}: {component.summary} (from {entry.distribution})")
    if entry.kind == "verifier":
        exactness = "lossy, needs --allow-lossy" if component.lossy else "exact"
        print(f"{exactness}; draft trees: {', '.join(component.trees)}")
    elif entry.kind == "drafter":
        print(f"draft trees: {', '.join(component.trees)}")
    for title, options in (
        (f"Options: -o {entry.kind}.NAME=VALUE", component.options),
        ("Options of `specframe train`: -o NAME=VALUE", component.train_options),
    ):
        if options is not None:
            rows = [(o.name, o.type_name, o.default, o.unit, o.help) for o in describe(options)]
            print()
            print_table(rows, headers=("name", "type", "default", "unit", "what it does"), title=title)

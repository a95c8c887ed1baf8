"""``specframe plugins``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from specframe.cli.completion import complete_component, complete_kind
from specframe.cli.options import takes_options
from specframe.cli.root import Root
from specframe.contracts.kinds import KINDS
from specframe.errors import PluginError

if TYPE_CHECKING:
    from specframe.registry.registry import Registry

plugins_app = typer.Typer(help="Show the installed components.", rich_markup_mode=None)
*_FIRST, _LAST = KINDS


@plugins_app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@plugins_app.command("list")
@takes_options
def plugins_list(context: typer.Context) -> None:
    """List the components and where they come from; plugins that do not work come last."""
    from specframe.ops.tables import print_table

    registry, broken = _working(context)
    print_table(
        [
            (entry.kind, entry.component.name, entry.component.summary, entry.distribution)
            for entry in registry.registrations()
        ],
        headers=("kind", "name", "what it is", "plugin"),
    )
    added = Root.of(context).plugins
    if added:
        print()
        print_table(list(added.items()), headers=("command", "plugin"))
    for error in broken:
        print(f"\nBROKEN: {error}")


@plugins_app.command("show")
@takes_options
def plugins_show(
    context: typer.Context,
    kind: Annotated[
        str, typer.Argument(help=f"{', '.join(_FIRST)} or {_LAST}.", autocompletion=complete_kind)
    ],
    name: Annotated[
        str,
        typer.Argument(help="As `specframe plugins list` has it.", autocompletion=complete_component),
    ],
) -> None:
    """Show one component and its options."""
    from specframe.contracts.options import describe
    from specframe.ops.tables import print_table

    registry, broken = _working(context)
    for error in broken:
        print("specframe:", error, file=sys.stderr)
    entry = registry.find(kind, name)
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


def _working(context: typer.Context) -> tuple[Registry, list[PluginError]]:
    """Return what the plugins that work register, and the errors of the others."""
    from specframe.registry.manager import build_registry, create_plugin_manager

    broken: list[PluginError] = []
    registry = build_registry(create_plugin_manager(broken=broken), broken)
    said = {str(error): error for error in (*Root.of(context).broken, *broken)}
    return registry, list(said.values())

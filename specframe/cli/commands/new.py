"""``specframe new``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from specframe.cli.options import takes_options
from specframe.contracts.kinds import KINDS

*_FIRST, _LAST = (kind.setting for kind in KINDS.values())


@takes_options
def new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"{', '.join(_FIRST)} or {_LAST}.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What users will type, such as `recent`.")],
    into: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder to write the package in.", show_default="this folder"),
    ] = Path(),
    with_head: Annotated[
        bool,
        typer.Option(
            "--with-head/--without-head",
            help="For drafters: one with an LM head over the active set, or none.",
        ),
    ] = False,
) -> None:
    """Write the package of a plugin that passes its own tests.

    It has one component with options, typed, and tests of its promises, its behaviour and its output.
    """
    from specframe import __version__
    from specframe.cli.scaffold.package import NewPackage
    from specframe.errors import UsageError
    from specframe.registry.manager import build_registry, create_plugin_manager

    package = NewPackage.of(kind, name, __version__, with_head=with_head)
    registry = build_registry(create_plugin_manager())
    if name in registry.names(package.kind.name):
        taken = registry.registration(package.kind.name, name).distribution
        raise UsageError(f"{package.kind.label} {name!r} is registered by {taken}; allowed: another name")
    place = package.write(into)
    print(f"wrote {place}: {', '.join(sorted(package.files()))}")
    print(f"next: pip install --editable '{place}[test]' && python -m pytest {place}")

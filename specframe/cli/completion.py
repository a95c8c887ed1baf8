"""What the shell offers after an option: names of components, of their options, and of other choices.

Nothing here imports torch, and a plugin that does not work is left out silently: nobody reads errors there.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable
from typing import Any, Literal

import typer

from specframe.config import AUTO, AUTOREGRESSIVE, RunConfig
from specframe.contracts.kinds import KINDS, Kind
from specframe.contracts.options import describe
from specframe.errors import PluginError, UsageError
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe.registry.registry import Registry

Completion = Callable[[str], list[tuple[str, str]]]

_KINDS = {kind.setting: kind.name for kind in KINDS.values()}


def completion_of(declaring: type[Any], name: str) -> Completion | None:
    """Return what completes the values of a flag, or None for values that are no choice.

    Args:
        declaring: the attrs class with the flag's field.
        name: of the field.
    """
    if name in _KINDS:
        return lambda incomplete: _starting(incomplete, _components(_KINDS[name]))
    annotation = typing.get_type_hints(declaring)[name]
    for one in (annotation, *typing.get_args(annotation)):
        if typing.get_origin(one) is Literal:
            choices = [(str(choice), "") for choice in typing.get_args(one)]
            return lambda incomplete: _starting(incomplete, choices)
    return None


def complete_kind(incomplete: str) -> list[tuple[str, str]]:
    """Return the kinds of components."""
    return _starting(incomplete, ((kind.name, kind.label) for kind in KINDS.values()))


def complete_component(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the components of the kind that was typed before."""
    kinds = [kind.name for kind in KINDS.values() if kind.name == ctx.params.get("kind")]
    return [one for kind in kinds for one in _starting(incomplete, _components(kind))]


def complete_assignment(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return ``KIND.NAME=`` for the options of the components that were typed before, or are the default."""
    registry, offered = _registry(), []
    for kind in KINDS.values():
        name = ctx.params.get(kind.setting) or getattr(RunConfig(), kind.setting)
        names = registry.names(kind.name) if name == AUTO else [name]
        for one in names:
            try:
                options = registry.get(kind.name, one).options
            except UsageError:
                continue
            offered += [(f"{kind.name}.{option.name}=", option.help) for option in describe(options)]
    return _starting(incomplete, dict(offered).items())


def _components(kind: Kind) -> list[tuple[str, str]]:
    entries = [entry.component for entry in _registry().registrations() if entry.kind == kind]
    named = [(component.name, component.summary) for component in entries]
    if kind == "vocabulary":
        return [*named, (AUTOREGRESSIVE, "no drafts: one token a pass")]
    return named if kind == "drafter" else [*named, (AUTO, "the fastest that fits")]


def _registry() -> Registry:
    broken: list[PluginError] = []
    return build_registry(create_plugin_manager(broken=broken), broken)


def _starting(incomplete: str, offered: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(value, help) for value, help in offered if value.startswith(incomplete)]

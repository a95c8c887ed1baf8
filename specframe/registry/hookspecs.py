"""Every hook: what it is for and when it is called. No logic lives here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

from specframe.config import RunConfig
from specframe.contracts.report import GenerationReport, StepStats
from specframe.registry.components import Component

if TYPE_CHECKING:  # which imports this module
    from specframe.registry.commands import Commands

PROJECT_NAME = "specframe"
hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)


@hookspec
def specframe_vocabularies() -> Iterable[Component]:
    """Return vocabulary strategies. Called once at start-up.

    The factory returns a ``specframe.contracts.protocols.VocabularyBuilder``.
    """
    raise NotImplementedError


@hookspec
def specframe_gather_backends() -> Iterable[Component]:
    """Return gather backends. Called once at start-up.

    The factory returns a ``specframe.contracts.protocols.GatherBackend``.
    """
    raise NotImplementedError


@hookspec
def specframe_drafters() -> Iterable[Component]:
    """Return drafters. Called once at start-up.

    The factory returns a ``specframe.contracts.protocols.Drafter``.
    """
    raise NotImplementedError


@hookspec
def specframe_verifiers() -> Iterable[Component]:
    """Return verifiers. Called once at start-up.

    The factory returns a ``specframe.contracts.protocols.Verifier``.
    """
    raise NotImplementedError


@hookspec
def specframe_data_directories() -> Iterable[Path]:
    """Return directories whose folders hold data for one target each. Called once at start-up.

    What is found there: ``specframe.registry.shipped.ShippedData``.
    """
    raise NotImplementedError


@hookspec
def specframe_register_commands(cli: Commands) -> None:
    """Add commands to the command line. Called before any command runs, so import late what takes long.

    ``cli`` is a ``typer.Typer`` that takes commands of click as well.
    """


@hookspec
def specframe_generation_started(config: RunConfig) -> None:
    """Observe the start of a generation, before the prompt is read by the target."""


@hookspec
def specframe_step_finished(stats: StepStats, config: RunConfig) -> None:
    """Observe one finished target pass of an engine. Dispatched only when somebody listens."""


@hookspec
def specframe_generation_finished(report: GenerationReport) -> None:
    """Observe the end of a generation."""

"""Observers are told in turn, and one that fails is named."""

from __future__ import annotations

import logging
from typing import Any
from unittest.mock import Mock

import pluggy
import pytest

from specframe.config import RunConfig
from specframe.registry.hookspecs import hookimpl
from specframe.registry.manager import create_plugin_manager
from specframe.registry.observers import Observers


class Watching:
    """Counts what it is told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.told: list[Any] = []
        self._error = error

    @hookimpl
    def specframe_generation_started(self, config: RunConfig) -> None:
        self.told.append(config)
        if self._error:
            raise self._error


class Stepping:
    """Listens to steps, and wants none of their statistics."""

    def __init__(self) -> None:
        self.steps = 0

    @hookimpl
    def specframe_step_finished(self) -> None:
        self.steps += 1


def watched_by(**plugins: object) -> pluggy.PluginManager:
    manager = create_plugin_manager(entry_points=False)
    for name, plugin in plugins.items():
        manager.register(plugin, name=name)
    return manager


def test_everybody_is_told_once() -> None:
    first, second = Watching(), Watching()
    Observers(watched_by(first=first, second=second)).generation_started(RunConfig())
    assert (len(first.told), len(second.told)) == (1, 1)


# What one class implements has one code object, whoever runs it.
@pytest.mark.parametrize("failing", ["first", "second"])
def test_a_plugin_that_raises_is_named_and_the_others_are_told(
    failing: str, caplog: pytest.LogCaptureFixture
) -> None:
    plugins = {"first": Watching(), "second": Watching()} | {failing: Watching(ValueError("no"))}
    observers = Observers(watched_by(**plugins))
    with caplog.at_level(logging.WARNING):
        observers.generation_started(RunConfig())
        observers.generation_started(RunConfig())
    assert [record.getMessage() for record in caplog.records] == [
        f"plugin {failing} raised in specframe_generation_started(), which is called no more: ValueError: no"
    ]
    other = plugins["second" if failing == "first" else "first"]
    assert len(other.told) == 2


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message")


def test_an_error_without_a_message_is_named_by_its_type(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Observers(watched_by(first=Watching(Unspeakable()))).generation_started(RunConfig())
    assert caplog.records[0].getMessage().endswith("no more: Unspeakable: its message cannot be read")


class Emptying:
    """Takes a report to pieces."""

    @hookimpl
    def specframe_generation_finished(self, report: Any) -> None:
        report.clear()


def test_what_an_observer_does_to_a_report_stays_with_it() -> None:
    report: Any = [7, 9]
    Observers(watched_by(emptying=Emptying())).generation_finished(report)
    assert report == [7, 9]


def test_statistics_of_a_step_are_made_only_for_somebody() -> None:
    def never() -> Any:
        raise AssertionError("nobody listens")

    Observers(watched_by(watching=Watching())).step_finished(never, RunConfig())
    stepping, statistics = Stepping(), Mock()
    Observers(watched_by(stepping=stepping)).step_finished(statistics, RunConfig())
    assert (stepping.steps, statistics.call_count) == (1, 1)


def test_without_a_manager_nobody_is_told() -> None:
    Observers().generation_started(RunConfig())

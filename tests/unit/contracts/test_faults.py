"""Whose fault an error is."""

from __future__ import annotations

import logging

import pytest

from specframe.contracts.faults import ComponentError, Owner, WrongCall
from specframe.errors import CheckpointError, SpecframeError, UsageError, blaming_nobody

MINE = Owner("drafter", "mine", "my-drafters 1.0")
THEIRS = Owner("gather", "theirs")
LINE = "drafter 'mine' (my-drafters 1.0)"


def raised(error: BaseException, where: str = "draft()") -> BaseException:
    """Return what comes out when a component raises something."""
    with pytest.raises(BaseException) as found, MINE.blame(where):  # noqa: PT011 - whatever it is
        raise error
    return found.value


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("boom\nand more"), "raised in draft(): ValueError: boom and more"),
        (StopIteration(), "raised in draft(): StopIteration"),
        (GeneratorExit(), "raised in draft(): GeneratorExit"),
        (RecursionError("too deep"), "raised in draft(): RecursionError: too deep"),
        (SpecframeError("no room"), "says in draft(): no room"),
        (UsageError("no such file"), "says in draft(): no such file"),
        (WrongCall("asks for nothing"), "asks for nothing (in draft())"),
        (ComponentError(THEIRS, "lies"), "raised in draft(): ComponentError: gather backend 'theirs' lies"),
    ],
)
def test_whatever_a_component_raises_names_it_in_one_line(error: BaseException, line: str) -> None:
    found = raised(error)
    assert isinstance(found, ComponentError)
    assert str(found) == f"{LINE} {line}"
    assert found.__cause__ is error


def test_a_fault_of_another_component_stays_its_own() -> None:
    fault = THEIRS.fault("returned a list; allowed: a tuple")
    assert raised(fault) is fault


def test_a_fault_that_a_component_hands_on_as_its_own_error_stays_the_other_ones() -> None:
    fault = THEIRS.fault("returned a list; allowed: a tuple")
    error = RuntimeError("no draft")
    error.__cause__ = fault
    assert raised(error) is fault


def test_an_error_around_the_call_is_not_taken_for_its_cause() -> None:
    try:
        raise THEIRS.fault("failed long ago")
    except ComponentError:
        found = raised(ValueError("now"))
    assert str(found) == f"{LINE} raised in draft(): ValueError: now"


def test_what_is_nobodys_fault_stays_what_it_is() -> None:
    error = blaming_nobody(SpecframeError("the target returned NaN"))
    assert raised(error) is error


def test_an_interrupt_passes() -> None:
    error = KeyboardInterrupt()
    assert raised(error) is error


def test_a_process_that_is_told_to_end_ends_and_the_log_says_who_was_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = SystemExit(3)
    with caplog.at_level(logging.WARNING):
        assert raised(error) is error
    assert caplog.messages == [f"{LINE} was called in draft() when the process was told to end"]


def test_a_user_mistake_keeps_its_exit_code() -> None:
    found = raised(UsageError("no such file"))
    assert isinstance(found, SpecframeError)
    assert found.exit_code == 2


def test_before_anything_runs_an_error_for_the_user_keeps_its_class_and_says_whose_it_is() -> None:
    with pytest.raises(CheckpointError) as found, MINE.declares("factory()"):
        raise CheckpointError("no checkpoint in /here")
    assert str(found.value) == f"{LINE}: no checkpoint in /here"


def test_an_error_for_the_user_that_names_the_component_is_left_alone() -> None:
    with pytest.raises(UsageError) as found, MINE.declares("factory()"):
        raise UsageError("drafter 'mine' has no checkpoint")
    assert str(found.value) == "drafter 'mine' has no checkpoint"


def test_before_anything_runs_an_exit_is_an_error_like_any_other() -> None:
    with pytest.raises(ComponentError) as found, MINE.declares("factory()"):
        raise SystemExit("enough")
    assert str(found.value) == f"{LINE} raised in factory(): SystemExit: enough"


@pytest.mark.parametrize(
    ("plugin", "distribution"),
    [("their-plugin (their-dist 1.0)", "their-dist 1.0"), ("bare", "bare")],
)
def test_an_owner_names_the_distribution_of_its_plugin(plugin: str, distribution: str) -> None:
    assert str(Owner.of("vocabulary", "x", plugin)) == f"strategy 'x' ({distribution})"

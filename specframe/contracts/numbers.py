"""Numbers that a user gave from Python: one line for what is none."""

from __future__ import annotations

import operator
from numbers import Real
from typing import Any

from specframe.errors import UsageError


def is_whole(value: object) -> bool:
    """Return whether a value is a whole number; a bool, or a float without a fraction, is none."""
    try:
        operator.index(value)  # type: ignore[arg-type]  # that is the question
    except Exception:  # code of any class: arrays and tensors of several numbers have the method
        return False
    return not isinstance(value, bool)


def whole(name: str, value: Any) -> int:
    """Return a whole number as an int.

    Raises:
        UsageError: it is something else.
    """
    if not is_whole(value):
        raise UsageError(f"{name} is {value!r}; allowed: a whole number")
    return operator.index(value)


def real(name: str, value: Any) -> float:
    """Return a number as a float.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}; allowed: a number")
    try:
        return float(value)
    except OverflowError:
        raise UsageError(f"{name} is too large; allowed: a number that is a float") from None

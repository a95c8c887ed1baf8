"""Errors meant for users: one line that says what is wrong and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TypeVar

# What a stranger's exception says, in characters.
_LONGEST = 1000


class SpecframeError(Exception):
    """A failure at run time that the user should read as one line; the command line exits with 1.

    Attributes:
        blames_nobody: it is no fault of a component that it comes out of, as with logits that are NaN.
    """

    exit_code = 1
    blames_nobody = False


ErrorT = TypeVar("ErrorT", bound=SpecframeError)


class UsageError(SpecframeError):
    """The user asked for something that is not allowed; the command line exits with 2."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that nobody registered.

    Attributes:
        name: the name that was given.
    """

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


class OptionError(UsageError):
    """An option of a component that it has not, or that has a value which does not fit.

    Attributes:
        owner: who the options belong to.
        name: of the option.
    """

    def __init__(self, message: str, owner: str, name: str) -> None:
        super().__init__(message)
        self.owner, self.name = owner, name


class PluginError(UsageError):
    """A plugin cannot be loaded, or two plugins claim one name.

    Attributes:
        plugin: whose fault it is; empty where that is not said apart from the message.
    """

    def __init__(self, message: str, plugin: str = "") -> None:
        super().__init__(message)
        self.plugin = plugin


class CheckpointError(UsageError):
    """A checkpoint is missing, corrupt, or made for another model."""


def blaming_nobody(error: ErrorT) -> ErrorT:
    """Return the error as one that is no fault of a component that it comes out of."""
    error.blames_nobody = True
    return error


def unknown_name(what: str, name: str, known: Iterable[str]) -> UnknownName:
    """Return the error for a name nobody registered, with the nearest known name and all of them.

    Args:
        what: what was looked up, for example ``"strategy"``.
        name: the name that was given.
        known: every name that is allowed.
    """
    names = sorted({*known})
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ";"
    return UnknownName(f"unknown {what} {name!r}{hint} known: {', '.join(names) or '(none)'}", name)


def shown(value: object, most: int = 80) -> str:
    """Return a stranger's value as an error shows it: in one line of bounded length, whatever it is."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a stranger's class may fail in that too
        text = f"<{type(value).__name__}, which cannot be shown>"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def one_line(error: BaseException) -> str:
    """Return an exception's type and message in one printable line of bounded length."""
    try:
        message = str(error)
    except Exception:  # a stranger's class may fail in that too
        message = "its message cannot be read"
    text = " ".join(f"{type(error).__name__}: {message}".split()).removesuffix(":")
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."

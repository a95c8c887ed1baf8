"""Components are built and named: errors call them by what they were chosen as."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from specframe.config import RunConfig
from specframe.contracts.faults import ComponentError, blaming
from specframe.contracts.kinds import Kind
from specframe.contracts.protocols import CONTRACTS
from specframe.registry.registry import KIND_LABELS


def named(error: ComponentError, config: RunConfig) -> ComponentError:
    """Return the error with the name of its component in front."""
    names: dict[Kind, str] = {
        "vocabulary": config.strategy,
        "gather": config.gather,
        "drafter": config.drafter,
        "verifier": config.verifier,
    }
    return ComponentError(error.kind, error.what, f"{KIND_LABELS[error.kind]} {names[error.kind]!r}")


@contextlib.contextmanager
def naming(config: RunConfig) -> Iterator[None]:
    """Name the component in whatever ``ComponentError`` is raised inside."""
    try:
        yield
    except ComponentError as error:
        raise named(error, config) from error.__cause__


def checked(kind: Kind, make: Callable[[], Any]) -> Any:
    """Return what a factory makes.

    Raises:
        ComponentError: it raises, or makes something else than the contract of its kind.
    """
    with blaming(kind):
        made = make()
    if not isinstance(made, CONTRACTS[kind]):
        raise ComponentError(
            kind,
            f"is a {type(made).__name__}; allowed: a class that inherits "
            f"{CONTRACTS[kind].__module__}.{CONTRACTS[kind].__name__}",
        )
    return made

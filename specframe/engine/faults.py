"""Components are built and named: errors call them by what they were chosen as."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from specframe.config import RunConfig
from specframe.contracts import protocols
from specframe.contracts.faults import ComponentError, blaming
from specframe.contracts.kinds import KINDS, Kind


def named(error: ComponentError, config: RunConfig) -> ComponentError:
    """Return the error with the name of its component in front."""
    kind = KINDS[error.kind]
    return ComponentError(error.kind, error.what, f"{kind.label} {getattr(config, kind.setting)!r}")


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
        what = protocols.complaint(made, getattr(protocols, KINDS[kind].protocol))
    if what is not None:
        raise ComponentError(kind, what)
    return made

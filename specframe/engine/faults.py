"""Turns what a component did wrong into one line that names it."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterable, Iterator

from specframe.config import RunConfig
from specframe.contracts.kinds import KINDS
from specframe.errors import SpecframeError


class ComponentError(SpecframeError):
    """A component raised, or broke its contract.

    Attributes:
        component: which one.
    """

    def __init__(self, message: str, component: object) -> None:
        super().__init__(message)
        self.component = component


class BrokenContract(Exception):
    """A component returned what its contract forbids; ``blame`` adds its name.

    Args:
        component: which one.
        what: what it did and what is allowed, to follow its name.
    """

    def __init__(self, component: object, what: str) -> None:
        super().__init__(what)
        self.component = component


@contextlib.contextmanager
def blame(components: Iterable[tuple[str, object]]) -> Iterator[None]:
    """Turn what a component raises into one line that names it.

    The component is the last in the traceback whose method was running, so that calling it costs nothing.

    Args:
        components: what errors call a component, and the component.

    Raises:
        ComponentError: one of them failed.
    """
    try:
        yield
    except SpecframeError:
        raise
    except BrokenContract as error:
        for label, component in components:
            if error.component is component:
                raise ComponentError(f"{label} {error}", component) from error
        raise
    except Exception as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        for frame in reversed(frames):
            for label, component in components:
                if frame.f_locals.get("self") is component:
                    message = f"{label} raised {type(error).__name__}: {error}"
                    raise ComponentError(message, component) from error
        raise


def label_components(config: RunConfig, components: Iterable[tuple[str, object]]) -> list[tuple[str, object]]:
    """Return components with what errors call them: their kind and the name they were chosen by.

    Args:
        config: has the names.
        components: each after its kind.
    """
    names = {kind.label: getattr(config, kind.setting) for kind in KINDS.values()}
    return [(f"{kind} {names[kind]!r}", component) for kind, component in components]

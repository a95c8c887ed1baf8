"""What factories make, wrapped by its kind."""

from __future__ import annotations

from typing import Any

from specframe.contracts.called.drafter import CalledDrafter
from specframe.contracts.called.gather import CalledGather
from specframe.contracts.called.strategy import CalledStrategy
from specframe.contracts.called.verifier import CalledVerifier
from specframe.contracts.faults import Owner

Called = CalledDrafter | CalledGather | CalledStrategy | CalledVerifier

_WRAPPERS = {
    "vocabulary": CalledStrategy,
    "gather": CalledGather,
    "drafter": CalledDrafter,
    "verifier": CalledVerifier,
}


def called(made: Any, owner: Owner) -> Any:
    """Return what a factory made, as it is called.

    Args:
        made: by the factory.
        owner: of the component; one that another component made stays that one's.

    Raises:
        ComponentError: it is no component of its kind, or cannot be called as one.
    """
    wrapper = _WRAPPERS[owner.kind]
    return made if isinstance(made, wrapper) else wrapper(made, owner)

"""The built-in components, registered through the same entry point as a stranger's package.

What the hooks return says where the code of each component is: it is imported when one is built.
"""

from collections.abc import Iterable
from pathlib import Path

from specframe.registry.components import Component
from specframe.registry.hookspecs import hookimpl


@hookimpl
def specframe_vocabularies() -> Iterable[Component]:
    """Return the strategies, in order of their names."""
    from specframe_plugins.vocabularies.components import COMPONENTS

    return COMPONENTS


@hookimpl
def specframe_gather_backends() -> Iterable[Component]:
    """Return the gather backends ``torch``, ``triton`` and ``triton-indexed``."""
    from specframe_plugins.gathers.components import COMPONENTS

    return COMPONENTS


@hookimpl
def specframe_drafters() -> Iterable[Component]:
    """Return the drafters, in order of their names."""
    from specframe_plugins.drafters.components import COMPONENTS

    return COMPONENTS


@hookimpl
def specframe_verifiers() -> Iterable[Component]:
    """Return the verifiers; ``typical`` and ``loose`` are lossy."""
    from specframe_plugins.verifiers.components import COMPONENTS

    return COMPONENTS


@hookimpl
def specframe_data_directories() -> Iterable[Path]:
    """Return where the EAGLE heads and token frequencies of the demo models are."""
    return [Path(__file__).with_name("data")]

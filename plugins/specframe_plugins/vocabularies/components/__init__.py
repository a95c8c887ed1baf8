"""The strategies as they are chosen: names, options, and where their code is; none of them imports torch."""

from collections.abc import Sequence

from specframe.registry.components import Component
from specframe_plugins.vocabularies.components import (
    clusters,
    exact_screen,
    full,
    lowrank,
    nanospec,
    nanospec_lowrank,
    retrieval,
    static,
)

# In order of their names.
COMPONENTS: Sequence[Component] = [
    module.COMPONENT
    for module in (clusters, exact_screen, full, lowrank, nanospec, nanospec_lowrank, retrieval, static)
]

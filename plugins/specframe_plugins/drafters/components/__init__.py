"""The drafters as they are chosen: names, options, and where their code is; none of them imports torch."""

from collections.abc import Sequence

from specframe.registry.components import Component
from specframe_plugins.drafters.components import (
    aded,
    combine,
    draft_model,
    eagle,
    eagle3,
    logitspec,
    lookup,
    mtp,
    suffix,
    swift,
    token_recycling,
)

# In order of their names.
COMPONENTS: Sequence[Component] = [
    module.COMPONENT
    for module in (
        aded,
        combine,
        draft_model,
        eagle,
        eagle3,
        logitspec,
        lookup,
        mtp,
        suffix,
        swift,
        token_recycling,
    )
]

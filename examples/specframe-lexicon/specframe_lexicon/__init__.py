"""A vocabulary strategy outside specframe: a domain lexicon united with the context."""

from collections.abc import Iterable

from specframe.registry.components import Component
from specframe.registry.hookspecs import hookimpl


@hookimpl
def specframe_vocabularies() -> Iterable[Component]:
    """Return the strategy ``lexicon``."""
    from specframe_lexicon.component import COMPONENT

    return [COMPONENT]

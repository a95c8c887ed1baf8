"""The strategy that settings ask for, built."""

from __future__ import annotations

from typing import cast

import attrs

from specframe.contracts.protocols import VocabularyBuilder
from specframe.model.target import Target
from specframe.registry.components import BuildContext
from specframe.registry.registry import Registry
from specframe_vllm.settings import Asked
from specframe_vllm.target import VllmTarget


@attrs.frozen(slots=True)
class Choice:
    """What builds an engine's strategies.

    Attributes:
        asked: by the user.
        registry: of the installed strategies.
        context: what they are built with.
    """

    asked: Asked
    registry: Registry
    context: BuildContext

    @classmethod
    def of(cls, asked: Asked, registry: Registry, target: VllmTarget) -> Choice:
        """Return what builds the strategies for a target."""
        context = BuildContext(
            target=cast(Target, target), required_ids=target.required_ids, data=registry.data
        )
        return cls(asked, registry, context)

    def make(self) -> VocabularyBuilder:
        """Return a strategy, as it is called.

        Raises:
            SpecframeError: its factory fails, or what it makes lacks something; the message names it.
        """
        component = self.registry.get("vocabulary", self.asked.settings.strategy)
        return cast(VocabularyBuilder, component.factory(self.asked.options, self.context))

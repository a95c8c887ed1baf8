"""The strategy that settings ask for, built."""

from __future__ import annotations

from typing import cast

import attrs

from specframe.contracts.protocols import VocabularyBuilder, complaint
from specframe.errors import UsageError
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
        """Return a strategy.

        Raises:
            UsageError: it lacks something.
            SpecframeError: what its factory raises.
        """
        component = self.registry.get("vocabulary", self.asked.settings.strategy)
        made = component.factory(self.asked.options, self.context)
        wrong = complaint(made, VocabularyBuilder)
        if wrong is not None:
            raise UsageError(f"strategy {component.name!r} {wrong}")
        return cast(VocabularyBuilder, made)

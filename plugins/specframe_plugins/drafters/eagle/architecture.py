"""How an EAGLE head is trained: one layer on the target's last features; its LM head stays the target's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from attrs import frozen
from torch import Tensor

from specframe.errors import UsageError
from specframe.model.target import Target
from specframe.registry.components import TrainRequest
from specframe_plugins import training
from specframe_plugins.drafters.eagle.checkpoint import LAYOUT, load_head, save_head
from specframe_plugins.drafters.eagle.induction import hold_likeness, with_induction
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead, PairLayer
from specframe_plugins.drafters.eagle.unroll import unroll
from specframe_plugins.drafters.probe import unwarned
from specframe_plugins.training.architecture import Architecture, Dropout

Layer = TypeVar("Layer", bound=PairLayer)


@frozen(kw_only=True)
class PairArchitecture(Architecture[Layer]):
    """What the layers of EAGLE-2 and EAGLE-3 have in common; see `Architecture`.

    Attributes:
        groups: key and value heads that are to be induction heads, see `with_induction`.
    """

    groups: int | None = None

    def unroll(
        self, head: Layer, embeddings: Tensor, features: Tensor, steps: int, dropout: Dropout | None
    ) -> Iterator[Tensor]:
        """See `Architecture`."""
        return unroll(head, embeddings, head.fuse(features).float(), steps, dropout)

    def measuring(self) -> AbstractContextManager[None]:
        """See `Architecture`."""
        return unwarned()

    def before_step(self, head: Layer, progress: float) -> None:
        """See `Architecture`."""
        hold_likeness(head, progress)

    def induction_groups(self, head: Layer) -> int:
        """See `Architecture`."""
        return head.config.induction_groups


@frozen(kw_only=True)
class EagleArchitecture(PairArchitecture[EagleHead]):
    """EAGLE-2; see `Architecture`."""

    drafter: ClassVar[str] = "eagle"
    predicts_features: ClassVar[bool] = True

    def build(self, target: Target) -> EagleHead:
        """See `Architecture`; the output norm starts at the scale of the target's features."""
        config = EagleConfig.for_target(
            target.config, target_name=target.name, tokenizer_fingerprint=target.tokenizer_fingerprint
        )
        head = EagleHead(config).to(target.device)
        norm = getattr(target.decoder, "norm", None)
        weight = getattr(norm, "weight", None)
        if weight is not None and weight.shape == head.norm.weight.shape:
            with torch.no_grad():
                # Gemma's norms multiply by 1 + weight.
                offset = 1.0 if "Gemma" in type(norm).__name__ else 0.0
                head.norm.weight.copy_(weight.float() + offset)
        return with_induction(head, self.groups)

    def load(self, checkpoint: Path, target: Target) -> EagleHead:
        """See `Architecture`.

        Raises:
            UsageError: the head has an embedding of its own.
        """
        loaded = load_head(checkpoint, target)
        if loaded.config.own_embedding:
            raise UsageError(
                f"{checkpoint} has an embedding of its own; allowed to be trained further: heads with the "
                "target's"
            )
        head = loaded.to(target.device, torch.float32).requires_grad_()
        return with_induction(head, self.groups)

    def is_at(self, folder: Path) -> bool:
        """See `Architecture`."""
        return LAYOUT.is_at(folder)

    def save(self, head: EagleHead, folder: Path) -> None:
        """See `Architecture`."""
        save_head(head.to(torch.bfloat16), folder)


def train(request: TrainRequest) -> None:
    """Make an EAGLE head for a target; see `training.train`."""
    training.train(request, EagleArchitecture(groups=request.options.induction_groups))

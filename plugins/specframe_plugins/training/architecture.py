"""What the trainer needs to know about a kind of head; everything else about training is the same for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import torch
from attrs import frozen
from torch import Tensor, nn

from specframe.contracts.lm_head import OutputHead
from specframe.model.target import Target
from specframe_plugins.drafters.eagle.checkpoint import load_head, save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.training.induction import with_induction
from specframe_plugins.training.objective import rows_of
from specframe_plugins.training.unroll import unroll

Dropout = Callable[[Tensor], Tensor]


class Architecture(Protocol):
    """A kind of head that can be trained. Shapes: B sequences, T positions, F width of what it reads."""

    @property
    def drafter(self) -> str:
        """Name of the drafter that drafts with it."""
        ...

    def feature_layers(self, target: Target) -> tuple[int, ...]:
        """Returns the layers of the target whose inputs it reads; none for the target's last features."""
        ...

    @property
    def predicts_features(self) -> bool:
        """What the head predicts is itself a feature of the target, so that their distance is a loss."""
        ...

    def build(self, target: Target) -> nn.Module:
        """Returns a fresh head in float32."""
        ...

    def load(self, checkpoint: Path, target: Target) -> nn.Module:
        """Returns the head of a checkpoint in float32, to go on from."""
        ...

    def unroll(
        self, head: nn.Module, embeddings: Tensor, features: Tensor, steps: int, dropout: Dropout | None
    ) -> Iterator[Tensor]:
        """Yields what the LM head is applied to at each depth, [B, T, H].

        Args:
            head: the head.
            embeddings: of token t + 1 [B, T, H].
            features: what it reads of position t [B, T, F].
            steps: number of depths.
            dropout: applied to the input of the layer; None when there is none.
        """
        ...

    def output_rows(self, head: nn.Module, target: Target, ids: Tensor | None) -> OutputHead:
        """Returns the LM head that proposes, or those of its rows that belong to ids [K]."""
        ...

    def save(self, head: nn.Module, folder: Path) -> None:
        """Writes a checkpoint in bfloat16."""
        ...


@frozen
class Eagle2Architecture:
    """EAGLE-2: one layer on the target's last features, and the target's own LM head, frozen.

    Attributes:
        induction_groups: key and value heads that are induction heads, see `with_induction`.
    """

    induction_groups: int | None = None
    drafter: str = "eagle"
    predicts_features: bool = True

    def feature_layers(self, target: Target) -> tuple[int, ...]:
        """See `Architecture`."""
        return ()

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
        return with_induction(head, self.induction_groups)

    def load(self, checkpoint: Path, target: Target) -> EagleHead:
        """See `Architecture`."""
        head = load_head(checkpoint, target).to(target.device, torch.float32).requires_grad_()
        return with_induction(head, self.induction_groups)

    def unroll(
        self, head: nn.Module, embeddings: Tensor, features: Tensor, steps: int, dropout: Dropout | None
    ) -> Iterator[Tensor]:
        """See `Architecture`."""
        assert isinstance(head, EagleHead)
        return unroll(head, embeddings, features, steps, dropout)

    def output_rows(self, head: nn.Module, target: Target, ids: Tensor | None) -> OutputHead:
        """See `Architecture`."""
        return target.output_head if ids is None else rows_of(target.output_head, ids)

    def save(self, head: nn.Module, folder: Path) -> None:
        """See `Architecture`."""
        assert isinstance(head, EagleHead)
        save_head(head.to(torch.bfloat16), folder)

"""What the trainer needs to know about a kind of drafter; the rest of training is the same for every kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from torch import Tensor, nn

from specframe.contracts.lm_head import OutputHead
from specframe.model.target import Target
from specframe_plugins.training.objective import rows_of

Dropout = Callable[[Tensor], Tensor]
Head = TypeVar("Head", bound=nn.Module)


class Architecture(ABC, Generic[Head]):
    """A kind of head that can be trained. Shapes: B sequences, T positions, F width of what it reads.

    Attributes:
        drafter: name of the drafter that drafts with it.
        predicts_features: what it predicts is itself a feature of the target, so that their distance is a
            loss.
    """

    drafter: ClassVar[str]
    predicts_features: ClassVar[bool] = False

    def feature_layers(self, target: Target) -> tuple[int, ...]:
        """Return the layers of the target whose inputs it reads; none for the target's last features."""
        return ()

    @abstractmethod
    def build(self, target: Target) -> Head:
        """Return a fresh head in float32."""

    @abstractmethod
    def load(self, checkpoint: Path, target: Target) -> Head:
        """Return the head of a checkpoint in float32, to go on from."""

    @abstractmethod
    def unroll(
        self, head: Head, embeddings: Tensor, features: Tensor, steps: int, dropout: Dropout | None
    ) -> Iterator[Tensor]:
        """Yield what the LM head is applied to at each depth, [B, T, H].

        Args:
            head: the head.
            embeddings: of token t + 1 [B, T, H].
            features: what it reads of position t [B, T, F].
            steps: number of depths.
            dropout: applied to the input of the layer; None when there is none.
        """

    @abstractmethod
    def save(self, head: Head, folder: Path) -> None:
        """Write a checkpoint in bfloat16."""

    def is_at(self, folder: Path) -> bool:
        """Return whether a folder holds a checkpoint that `save` replaces."""
        return (folder / "config.json").is_file()

    def measuring(self) -> AbstractContextManager[None]:
        """Return what holds while a head that was just trained is loaded and measured."""
        return nullcontext()

    def output_rows(self, head: Head, target: Target, ids: Tensor | None) -> OutputHead:
        """Return the LM head that proposes, or those of its rows that belong to ids [K]."""
        return target.output_head if ids is None else rows_of(target.output_head, ids)

    def before_step(self, head: Head, progress: float) -> None:
        """Change gradients before the optimizer takes its step, ``progress`` (0 to 1) into the training."""
        return

    def induction_groups(self, head: Head) -> int:
        """Return how many of the head's key and value heads are induction heads."""
        return 0

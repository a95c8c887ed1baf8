"""What the trainer needs to know about an EAGLE-3 head.

What differs from EAGLE-2: the head reads several layers of the target, every step of the training is unrolled
on the head's own outputs, and nothing pulls these towards features of the target (EAGLE-3, arXiv 2503.01840,
section 3). The data are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from attrs import evolve, frozen
from torch import Tensor, nn

from specframe.contracts.lm_head import OutputHead
from specframe.errors import UsageError
from specframe.model.target import Target
from specframe_plugins.drafters.eagle3.checkpoint import load_head, save_head
from specframe_plugins.drafters.eagle3.model import Eagle3Head, default_feature_layers, for_target
from specframe_plugins.training.architecture import Dropout
from specframe_plugins.training.induction import with_induction
from specframe_plugins.training.objective import rows_of
from specframe_plugins.training.unroll import unroll


@frozen
class Eagle3Architecture:
    """EAGLE-3 over the full vocabulary; see `Architecture`.

    Attributes:
        own_lm_head: train an LM head too.
        induction_groups: key and value heads that are induction heads, see `with_induction`.
    """

    own_lm_head: bool = False
    induction_groups: int | None = None
    drafter: str = "eagle3"
    predicts_features: bool = False

    def feature_layers(self, target: Target) -> tuple[int, ...]:
        """See `Architecture`."""
        return default_feature_layers(target.config.num_hidden_layers)

    def build(self, target: Target) -> Eagle3Head:
        """See `Architecture`; an LM head of its own starts as a copy of the target's."""
        config = for_target(
            target.config,
            target_name=target.name,
            tokenizer_fingerprint=target.tokenizer_fingerprint,
            own_lm_head=self.own_lm_head,
        )
        head = Eagle3Head(config).to(target.device)
        if self.own_lm_head:
            with torch.no_grad():
                head.lm_head.weight.copy_(target.output_head.weight)
        return with_induction(head, self.induction_groups)

    def load(self, checkpoint: Path, target: Target) -> Eagle3Head:
        """See `Architecture`.

        Raises:
            UsageError: the head has a draft vocabulary, or an embedding of its own.
        """
        loaded = load_head(checkpoint, target)
        config = loaded.head.config
        if loaded.row_map.reduced or config.own_embedding or config.own_lm_head != self.own_lm_head:
            raise UsageError(
                f"{checkpoint} cannot be trained further like this; allowed: the full vocabulary, the "
                f"target's embedding, and lm_head={'own' if config.own_lm_head else 'target'}"
            )
        head = loaded.head.to(target.device, torch.float32).requires_grad_()
        return with_induction(head, self.induction_groups)

    def unroll(
        self, head: nn.Module, embeddings: Tensor, features: Tensor, steps: int, dropout: Dropout | None
    ) -> Iterator[Tensor]:
        """See `Architecture`."""
        assert isinstance(head, Eagle3Head)
        return unroll(head, embeddings, head.fuse(features).float(), steps, dropout)

    def output_rows(self, head: nn.Module, target: Target, ids: Tensor | None) -> OutputHead:
        """See `Architecture`."""
        assert isinstance(head, Eagle3Head)
        whole = target.output_head
        if self.own_lm_head:
            whole = evolve(whole, weight=head.lm_head.weight, bias=None, product=None)
        return whole if ids is None else rows_of(whole, ids)

    def save(self, head: nn.Module, folder: Path) -> None:
        """See `Architecture`."""
        assert isinstance(head, Eagle3Head)
        save_head(head.to(torch.bfloat16), None, folder)

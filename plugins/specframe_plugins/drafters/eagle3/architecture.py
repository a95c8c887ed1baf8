"""How an EAGLE-3 head is trained.

What differs from EAGLE-2: the head reads several layers of the target, every step of the training is unrolled
on the head's own outputs, and nothing pulls these towards features of the target (EAGLE-3, arXiv 2503.01840,
section 3). The data are the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from attrs import evolve, frozen
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.errors import UsageError
from specframe.model.target import Target
from specframe.registry.components import TrainRequest
from specframe_plugins import training
from specframe_plugins.drafters.eagle.architecture import PairArchitecture
from specframe_plugins.drafters.eagle.induction import with_induction
from specframe_plugins.drafters.eagle3.checkpoint import LAYOUT, load_head, save_head
from specframe_plugins.drafters.eagle3.model import Eagle3Head, default_feature_layers, for_target
from specframe_plugins.training.objective import rows_of


@frozen(kw_only=True)
class Eagle3Architecture(PairArchitecture[Eagle3Head]):
    """EAGLE-3 over the full vocabulary; see `Architecture`.

    Attributes:
        own_lm_head: train an LM head too.
    """

    own_lm_head: bool = False
    drafter: ClassVar[str] = "eagle3"

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
        return with_induction(head, self.groups)

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
        return with_induction(head, self.groups)

    def output_rows(self, head: Eagle3Head, target: Target, ids: Tensor | None) -> OutputHead:
        """See `Architecture`."""
        whole = target.output_head
        if self.own_lm_head:
            whole = evolve(whole, weight=head.lm_head.weight, bias=None, product=None)
        return whole if ids is None else rows_of(whole, ids)

    def is_at(self, folder: Path) -> bool:
        """See `Architecture`."""
        return LAYOUT.is_at(folder)

    def save(self, head: Eagle3Head, folder: Path) -> None:
        """See `Architecture`."""
        save_head(head.to(torch.bfloat16), None, folder)


def train(request: TrainRequest) -> None:
    """Make an EAGLE-3 head for a target; see `training.train`."""
    own, groups = request.options.lm_head == "own", request.options.induction_groups
    training.train(request, Eagle3Architecture(own_lm_head=own, groups=groups))

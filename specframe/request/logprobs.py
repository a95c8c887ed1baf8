"""Log-probabilities of what a request emitted: the target's own, whatever was drafted or processed."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from specframe.contracts.report import TokenLogprob
from specframe.contracts.target_logits import AllLogits, TargetLogits


class Logprobs:
    """Collects log-probabilities of emitted tokens, from the target's logits before any processor.

    Args:
        top: how many of the most likely tokens to keep beside each emitted one; 0 for none.

    Attributes:
        kept: one entry per emitted token.
    """

    def __init__(self, top: int) -> None:
        self._top = top
        self.kept: list[TokenLogprob] = []

    def add(self, target: TargetLogits, nodes: Sequence[int], token_ids: Sequence[int]) -> None:
        """Note tokens of one target pass; one host read.

        Args:
            target: what the target says.
            nodes: n of the tree, after each of which a token was emitted.
            token_ids: these tokens [n].
        """
        raw = target.raw
        rows = raw.index_select(0, torch.tensor(nodes, device=raw.device)).float().log_softmax(dim=-1)
        chosen = torch.tensor(token_ids, device=raw.device)[:, None]
        ids = AllLogits(rows).top_ids(self._top) if self._top else chosen[:, :0]
        values = rows.gather(1, ids)
        for own, best, those in zip(
            rows.gather(1, chosen).tolist(), values.tolist(), ids.tolist(), strict=True
        ):
            self.kept.append(TokenLogprob(own[0], those, best))

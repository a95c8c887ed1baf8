"""Verifier ``greedy``: accepts exactly the tokens that the target's argmax would have emitted."""

from __future__ import annotations

import attrs
import torch
from torch import Generator, Tensor

from specframe.components import BuildContext, Component
from specframe.errors import SpecframeError
from specframe.types import DraftTree, Verdict


@attrs.frozen(slots=True)
class GreedyOptions:
    """``greedy`` has no options."""


class GreedyVerifier:
    """Walks the draft tree along the target's argmax.

    Source: SpecInfer (arXiv 2305.09781), section 4.3, greedy decoding. Widening to float32 is exact and
    keeps the order, so the argmax in the logits' own dtype equals the argmax in float32; of equal logits
    the first wins, as in ``torch.argmax``.
    """

    def verify(self, tree: DraftTree, target_logits: Tensor, generator: Generator | None) -> Verdict:
        """Return the longest path that the target's argmax follows, with one host read.

        Args:
            tree: N nodes.
            target_logits: the target's logits after each node [N, V].
            generator: not used; greedy decoding draws nothing.

        Raises:
            SpecframeError: the largest logit after a node of the path is NaN or infinite.
        """
        best = target_logits.max(dim=-1)
        # A NaN anywhere in a row is the row's maximum, so N values stand for all N x V of them.
        usable = best.values.isfinite()
        rows = torch.stack([tree.token_ids, tree.parents, best.indices, usable.long()])
        token_ids, parents, chosen, finite = rows.tolist()
        child_of: dict[tuple[int, int], int] = {}
        for node in range(1, len(token_ids)):
            child_of.setdefault((parents[node], token_ids[node]), node)
        path = [0]
        while True:
            last = path[-1]
            if not finite[last]:
                raise SpecframeError(
                    f"the target returned logits that are NaN or infinite after token {token_ids[last]}; "
                    "try --dtype float32"
                )
            child = child_of.get((last, chosen[last]))
            if child is None:
                break
            path.append(child)
        return Verdict(
            path=tuple(path),
            accepted_ids=tuple(token_ids[node] for node in path[1:]),
            next_token=chosen[path[-1]],
            path_ends_at_leaf=path[-1] not in parents,
        )


def _build(options: GreedyOptions, context: BuildContext) -> GreedyVerifier:
    return GreedyVerifier()


COMPONENT = Component(
    name="greedy",
    summary="exact greedy decoding: accept what the target's argmax would have emitted",
    options=GreedyOptions,
    factory=_build,
)

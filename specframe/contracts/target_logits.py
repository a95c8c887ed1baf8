"""The target's logits after the nodes of a draft tree, processed where a verifier looks and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import attrs
import torch
from torch import Tensor
from transformers import LogitsProcessorList

from specframe.contracts.tree import DraftTree
from specframe.errors import SpecframeError, blaming_nobody, one_line
from specframe.ops.row_maxima import row_max, row_topk


class HeadOutput(Protocol):
    """What an LM head says about N states."""

    @property
    def logits(self) -> Tensor:
        """All logits [N, V]."""
        ...

    def best(self) -> tuple[Tensor, Tensor]:
        """Return where the largest logit of each state stands first [N] int64, after a number [N].

        The number is about as large as that logit, and not finite where that is not.
        """
        ...

    def top_ids(self, k: int) -> Tensor:
        """Return where the k largest logits of each state stand [N, k] int64."""
        ...


@attrs.frozen(slots=True, eq=False)
class AllLogits:
    """The ``HeadOutput`` of logits that are all there [N, V]."""

    logits: Tensor

    def best(self) -> tuple[Tensor, Tensor]:
        """Return the largest logit of each state [N], and where it stands first [N] int64."""
        return row_max(self.logits)

    def top_ids(self, k: int) -> Tensor:
        """Return where the k largest logits of each state stand [N, k] int64."""
        return row_topk(self.logits, k)[1]


class TargetLogits:
    """What the target says after each node of one draft tree.

    Processing a row may sort the vocabulary, and most nodes of a tree are never visited. So rows are
    processed when they are asked for.

    Args:
        raw: the target's logits after each node [N, V], or what its LM head says.
        tree: N nodes.
        processors: are applied to every row in float32; None for none.
        context: ids of the prompt and of everything emitted, the tree's root included [T] int64; None when
            no processor looks at ids.

    Attributes:
        processed_at_all: whether ``rows`` differs from ``raw``.
    """

    def __init__(
        self,
        raw: Tensor | HeadOutput,
        tree: DraftTree,
        processors: LogitsProcessorList | None = None,
        context: Tensor | None = None,
    ) -> None:
        self._output = AllLogits(raw) if isinstance(raw, Tensor) else raw
        self.processed_at_all = bool(processors)
        self._tree, self._processors, self._context = tree, processors, context
        self._probabilities: dict[int, Tensor] = {}
        self._lineage: tuple[list[int], list[int]] | None = None

    @property
    def raw(self) -> Tensor:
        """The logits as the target returned them [N, V]."""
        return self._output.logits

    def best(self) -> tuple[Tensor, Tensor]:
        """Return where the largest raw logit after each node stands first [N] int64, after a number [N].

        It is cheaper than to look through ``raw``, which a target need not compute for it. The number is not
        finite where that logit is not.
        """
        return self._output.best()

    def rows(self, nodes: Sequence[int]) -> Tensor:
        """Return the processed logits after ``nodes`` [n, V] float32; -inf where a token is ruled out."""
        raw = self.raw
        index = torch.tensor(nodes, device=raw.device)
        scores = raw.index_select(0, index).float()
        if not self._processors:
            return scores
        if self._context is None:
            nothing = torch.empty(len(nodes), 0, dtype=torch.int64, device=raw.device)
            return self._apply(nothing, scores)
        # Processors take a rectangle of ids: nodes of one depth have histories of one length.
        processed = torch.empty_like(scores)
        histories = [self._history(node) for node in nodes]
        for length in dict.fromkeys(map(len, histories)):
            group = [at for at, history in enumerate(histories) if len(history) == length]
            ids = torch.tensor([histories[at] for at in group], dtype=torch.int64, device=raw.device)
            before = torch.cat([self._context.expand(len(group), -1), ids.view(len(group), length)], dim=1)
            processed[group] = self._apply(before, scores[group])
        return processed

    def _apply(self, ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores [n, V] after the processors, given the ids before each [n, L].

        Raises:
            SpecframeError: one of them raises, or returns something else; it is no component's fault.
        """
        try:
            processors: Any = self._processors  # annotated for generate() alone
            found = processors(ids, scores)
        except SpecframeError as error:
            raise blaming_nobody(error)  # noqa: B904 - the same error
        except Exception as error:
            raised = SpecframeError(f"a logits processor raised {one_line(error)}")
            raise blaming_nobody(raised) from error
        if not isinstance(found, Tensor) or found.shape != scores.shape:
            shown = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            wrong = f"a logits processor returned {shown}; allowed: scores {list(scores.shape)}"
            raise blaming_nobody(SpecframeError(wrong))
        return found

    def probabilities(self, node: int) -> Tensor:
        """Return the target's distribution after a node [V] float32.

        Raises:
            SpecframeError: a logit is NaN or infinite, or the processors rule out every token.
        """
        if node not in self._probabilities:
            self.prepare([node])
        return self._probabilities[node]

    def prepare(self, nodes: Sequence[int]) -> None:
        """Compute the distributions after several nodes together; raises as ``probabilities`` does."""
        wanted = [node for node in nodes if node not in self._probabilities]
        if wanted:
            distributions = torch.softmax(self.rows(wanted), dim=-1)
            # A NaN or +inf anywhere in a row, or nothing but -inf, makes all of its softmax NaN.
            for node, broken in zip(wanted, distributions[:, 0].isnan().tolist(), strict=True):
                if broken:
                    raise not_finite(int(self._tree.token_ids[node]))
            self._probabilities.update(zip(wanted, distributions, strict=True))

    def _history(self, node: int) -> list[int]:
        """Return the drafted tokens from below the root down to ``node``."""
        if self._lineage is None:
            tokens, parents = torch.stack([self._tree.token_ids, self._tree.parents]).tolist()
            self._lineage = tokens, parents
        tokens, parents = self._lineage
        history: list[int] = []
        while node > 0:
            history.append(tokens[node])
            node = parents[node]
        return history[::-1]


def not_finite(token_id: int) -> SpecframeError:
    """Return the error for logits after a token that no distribution can be made of."""
    return blaming_nobody(
        SpecframeError(
            f"the target returned logits that are NaN or infinite after token {token_id}; try --dtype float32"
        )
    )

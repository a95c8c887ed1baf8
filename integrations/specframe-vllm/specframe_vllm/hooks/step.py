"""One step of a model runner, in the words of strategies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate

import attrs
import torch
from torch import Tensor

from specframe.ops.row_maxima import row_topk
from specframe_vllm.drafting import ActiveDrafting
from specframe_vllm.strategies import ReadPrompt, TargetPasses

# Rows of the target's LM head at once when a prompt is looked at: bounds the logits to 32 x V.
_ROWS_AT_ONCE = 32


@attrs.frozen(slots=True, kw_only=True, eq=False)
class Step:
    """What a step computed and sampled, before the next draft.

    Which rows are of what kind is known on the host; what they hold stays on the device.

    Attributes:
        requests: ids of the B requests, in the order of their rows.
        unfinished: whose prompt is not read to its end: what they would have emitted is thrown away.
        computed: how many tokens of each were computed.
        nodes: how many rows of logits each has.
        node_ids: the tokens before these [N] int64.
        emitted_ids: what each emitted, -1 for none [B, D] int64.
        topk_ids: the target's top ids after each row of its logits [N, k]; None when nothing was asked for.
        hidden: the target's hidden states, one request after the other [tokens, H].
        prompt_ids: returns what the request of a row consists of up to this step [T] int64.
        compute_logits: the target's LM head: [n, H] to [n, V].
    """

    requests: list[str]
    unfinished: list[bool]
    computed: list[int]
    nodes: list[int]
    node_ids: Tensor
    emitted_ids: Tensor
    topk_ids: Tensor | None
    hidden: Tensor
    prompt_ids: Callable[[int], Tensor]
    compute_logits: Callable[[Tensor], Tensor]

    def teach(self, drafting: ActiveDrafting) -> None:
        """Show it what happened, and what is drafted for next."""
        passes = drafting.attempt(partial(self._passes, drafting))
        prompts = list(self._prompts(drafting))
        drafting.learn(self.requests, prompts, passes)

    def _prompts(self, drafting: ActiveDrafting) -> Iterator[ReadPrompt]:
        """Yield the requests whose prompt this step has read to its end."""
        ends = list(accumulate(self.computed))
        for row, request in enumerate(self.requests):
            if not self.unfinished[row] and not drafting.begun(request):
                yield ReadPrompt(
                    request=request,
                    prompt_ids=self.prompt_ids(row),
                    topk_ids=drafting.attempt(
                        partial(self._after_prompt, drafting, row, ends[row], self.computed[row])
                    ),
                    emitted_ids=self.emitted_ids[row],
                )

    def _after_prompt(self, drafting: ActiveDrafting, row: int, end: int, computed: int) -> Tensor | None:
        """Return the target's top ids after the last prompt positions that this step computed [P, k]."""
        window = min(drafting.prompt_window, computed)
        if not window:
            return None
        if window == 1 and self.topk_ids is not None:  # it has been through the LM head
            last = sum(self.nodes[: row + 1])
            return self.topk_ids[last - 1 : last]
        parts = self.hidden[end - window : end].split(_ROWS_AT_ONCE)
        return torch.cat([row_topk(self.compute_logits(part), drafting.harvest_topk)[1] for part in parts])

    def _passes(self, drafting: ActiveDrafting) -> TargetPasses | None:
        """Return the target passes of requests that had begun before; None where there are none."""
        begun = [drafting.begun(request) for request in self.requests]
        rows = [row for row, so in enumerate(begun) if so and not self.unfinished[row]]
        if not rows:
            return None
        return TargetPasses(
            requests=[self.requests[row] for row in rows],
            nodes=[self.nodes[row] for row in rows],
            node_ids=self._of_rows(self.node_ids, self.nodes, rows),
            emitted_ids=self._of_rows(self.emitted_ids, [1] * len(self.requests), rows),
            topk_ids=None if self.topk_ids is None else self._of_rows(self.topk_ids, self.nodes, rows),
        )

    def _of_rows(self, entries: Tensor, counts: list[int], rows: list[int]) -> Tensor:
        """Return the entries of some requests, for those of all [n, ...], so many of each."""
        if len(rows) == len(self.requests):
            return entries
        parts = entries.split(counts)
        return torch.cat([parts[row] for row in rows])

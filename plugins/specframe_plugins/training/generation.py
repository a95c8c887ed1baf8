"""The target writes its own training data: continuous batching over packed passes.

Every row of the batch is a conversation of its own, at a position of its own. Forced tokens (template,
opening, task) are fed in one piece beside the single tokens of the other rows; a finished row starts the next
conversation in the very next pass. The feature of every token falls out of the pass that reads it.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator

import torch
from attrs import define, field
from torch import Tensor

from specframe.errors import UsageError
from specframe.model.target import Target
from specframe_plugins.training.conversation import Conversation
from specframe_plugins.training.exact import best
from specframe_plugins.training.packed import RowCache, Segment, last_rows, packed_pass
from specframe_plugins.training.prompts import Prompts
from specframe_plugins.training.shards import FORCED, Sequence

# Greedy rows need the few ids whose half-precision logits may tie; sampled rows the nucleus.
_GREEDY_CANDIDATES = 4
_SAMPLED_CANDIDATES = 64


@define
class BatchedGenerator:
    """Decodes many conversations at once.

    Attributes:
        target: the target.
        prompts: what conversations consist of.
        rows: batch size B.
        seed: with a conversation's index it determines the conversation.
    """

    target: Target
    prompts: Prompts
    rows: int
    seed: int
    _cache: RowCache = field(init=False)
    _features: Tensor = field(init=False)

    def __attrs_post_init__(self) -> None:
        length, target = self.prompts.max_length, self.target
        if length > target.max_positions:
            raise UsageError(
                f"conversations of {length} tokens exceed the {target.max_positions} positions of "
                f"{target.name}; allowed: a smaller max_length"
            )
        self._cache = RowCache(self.rows, target.config.num_hidden_layers, length)
        self._features = torch.zeros(
            self.rows, length, target.hidden_size, dtype=target.dtype, device=target.device
        )

    @torch.inference_mode()
    def run(self, indices: Iterator[int]) -> Iterator[Sequence]:
        """Yields conversations as they finish; ends when the indices do."""
        # Rows keep the keys, values and features of the prefix for every conversation that follows. Its
        # last token is fed each time, because an empty opening needs its logits.
        kept = self.prompts.prefix[:-1]
        if kept:
            self._feed([Segment(row, 0, kept) for row in range(self.rows)])
        active: dict[int, Conversation] = {}
        free = deque(range(self.rows))
        while True:
            while free and (talk := self._start(next(indices, None))):
                active[free.popleft()] = talk
            if not active:
                return
            segments = [Segment(row, talk.fed, talk.tokens[talk.fed :]) for row, talk in active.items()]
            hidden = self._feed(segments)[last_rows(segments)]
            for talk in active.values():
                talk.fed = len(talk.tokens)
            self._write(hidden, list(active.values()))
            for row, talk in list(active.items()):
                if talk.finished:
                    yield self._sequence(row, active.pop(row))
                    free.append(row)

    def _start(self, index: int | None) -> Conversation | None:
        if index is None:
            return None
        rng = random.Random(f"{self.seed}-{index}")
        prefix = list(self.prompts.prefix)
        return Conversation(
            index=index,
            turns=deque(self.prompts.turns(rng, index)),
            stop_ids=self.prompts.stop_ids,
            max_length=self.prompts.max_length,
            rng=rng,
            tokens=prefix,
            roles=[FORCED] * len(prefix),
            fed=max(0, len(prefix) - 1),
        )

    def _feed(self, segments: list[Segment]) -> Tensor:
        """Feeds tokens of some rows; returns the features [n, H]."""
        hidden, _ = packed_pass(self.target, segments, self._cache)
        for segment, part in zip(segments, hidden.split([len(s.tokens) for s in segments]), strict=True):
            self._features[segment.row, segment.start : segment.stop] = part
        return hidden

    def _write(self, hidden: Tensor, talks: list[Conversation]) -> None:
        """Lets the target write the next token of every conversation that wants one, features [B, H]."""
        for greedy, count in ((True, _GREEDY_CANDIDATES), (False, _SAMPLED_CANDIDATES)):
            chosen = [
                row
                for row, talk in enumerate(talks)
                if talk.wants_token and (talk.turn.temperature == 0) == greedy
            ]
            if chosen:
                self._write_some(hidden[chosen], [talks[row] for row in chosen], count)

    def _write_some(self, hidden: Tensor, talks: list[Conversation], candidates: int) -> None:
        logits, ids = best(self.target.output_head, hidden, candidates)
        drawn = sample(
            logits,
            temperature=logits.new_tensor([talk.turn.temperature for talk in talks]),
            top_p=logits.new_tensor([talk.turn.top_p for talk in talks]),
            uniform=logits.new_tensor([talk.rng.random() for talk in talks]),
        )
        for talk, token in zip(talks, ids.gather(1, drawn[:, None])[:, 0].tolist(), strict=True):
            talk.append(token)

    def _sequence(self, row: int, talk: Conversation) -> Sequence:
        return Sequence(
            index=talk.index,
            tokens=torch.tensor(talk.tokens, dtype=torch.int32),
            roles=torch.tensor(talk.roles, dtype=torch.uint8),
            features=self._features[row, : len(talk.tokens)].cpu().clone(),
        )


def sample(logits: Tensor, temperature: Tensor, top_p: Tensor, uniform: Tensor) -> Tensor:
    """Inverse-transform sampling inside the nucleus, greedy where the temperature is 0.

    Args:
        logits: [B, K], falling.
        temperature: [B].
        top_p: [B].
        uniform: [B], the random numbers.

    Returns:
        Column [B] of the token drawn.
    """
    greedy = temperature == 0
    probs = (logits / temperature.masked_fill(greedy, 1.0)[:, None]).softmax(dim=-1)
    before = probs.cumsum(dim=-1) - probs
    probs = probs.masked_fill(before >= top_p[:, None], 0.0)
    cumulative = probs.cumsum(dim=-1)
    drawn = (cumulative <= (uniform * cumulative[:, -1])[:, None]).sum(dim=-1)
    drawn = drawn.clamp(max=logits.shape[1] - 1)
    return drawn.masked_fill(greedy, 0)

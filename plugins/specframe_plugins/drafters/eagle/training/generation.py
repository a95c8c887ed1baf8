"""The target writes its own training data: continuous batching, hidden states as a by-product.

Every row of the batch is a conversation of its own, at a position of its own. Forced tokens (template,
opening) are fed one per step like any other, so there is no separate prefill; a finished row starts the
next conversation in the very next step. The feature of every token is taken from the pass that decodes
it, so nothing is computed twice.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator

import torch
from attrs import define, field
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from specframe.errors import UsageError
from specframe.target import Target
from specframe_plugins.drafters.eagle.training.exact import best
from specframe_plugins.drafters.eagle.training.prompts import Prompts, Turn
from specframe_plugins.drafters.eagle.training.shards import ANSWER, FORCED, USER, Sequence

_CANDIDATES = 64
_LOOP = 8


@define
class RowPositions:
    """Where every row writes next; shared by all layers of the cache.

    Attributes:
        position: [B] int64.
        rows: 0..B-1.
        extent: how much of the buffers any row uses, this token included.
    """

    position: Tensor
    rows: Tensor
    extent: int = 1


class RowCacheLayer(CacheLayerMixin):
    """Keys and values [B, heads, length, D] in which every row has its own position."""

    def __init__(self, positions: RowPositions, length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        self.positions = positions
        self.length = length

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocates the buffers once the shape of the keys and values is known."""
        rows, heads, _, _ = key_states.shape
        self.keys = key_states.new_zeros(rows, heads, self.length, key_states.shape[-1])
        self.values = value_states.new_zeros(rows, heads, self.length, value_states.shape[-1])
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Writes one token per row, [B, heads, 1, D], and returns the buffers in use."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        where = self.positions
        assert self.keys is not None
        assert self.values is not None
        self.keys[where.rows, :, where.position] = key_states[:, :, 0]
        self.values[where.rows, :, where.position] = value_states[:, :, 0]
        return self.keys[:, :, : where.extent], self.values[:, :, : where.extent]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that `update` returns."""
        return self.positions.extent, 0

    def get_seq_length(self) -> int:
        """The longest row."""
        return self.positions.extent - 1

    def get_max_length(self) -> int:
        """The fixed length of the buffers."""
        return self.length


@define
class Conversation:
    """One conversation in the making: a small state machine that asks for one token at a time."""

    index: int
    turns: deque[Turn]
    stop_ids: frozenset[int]
    rng: random.Random
    tokens: list[int]
    roles: list[int]
    fed: int
    turn: Turn = field(init=False)
    _written: int = field(default=0, init=False)
    _seen: set[tuple[int, ...]] = field(factory=set, init=False)
    _over: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._next_turn()

    @property
    def wants_token(self) -> bool:
        """Every known token has been fed, and the target is to write the next."""
        return not self._over and self.fed == len(self.tokens)

    @property
    def finished(self) -> bool:
        """Every token has been fed, and there will be no more."""
        return self._over and self.fed == len(self.tokens)

    def _next_turn(self) -> None:
        self.turn = self.turns.popleft()
        self.tokens += self.turn.forced
        self.roles += [FORCED] * len(self.turn.forced)
        self._written = 0
        self._seen.clear()

    def append(self, token: int) -> None:
        """Takes the token that the target wrote; ends the turn at a stop, a loop or the limit."""
        stop = token in self.stop_ids
        # Forced tokens of a next turn bring their own end-of-turn; without any, a stop ends everything.
        goes_on = bool(self.turns) and not (stop and not self.turns[0].forced)
        if not (stop and goes_on):
            self.tokens.append(token)
            self.roles.append(ANSWER if self.turn.is_answer else USER)
            self._written += 1
        if stop or self._written >= self.turn.max_new or self._loops():
            if goes_on:
                self._next_turn()
            else:
                self._over = True

    def _loops(self) -> bool:
        if self._written < _LOOP:
            return False
        gram = tuple(self.tokens[-_LOOP:])
        if gram in self._seen:
            return True
        self._seen.add(gram)
        return False


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
    _positions: RowPositions = field(init=False)
    _cache: Cache = field(init=False)
    _features: Tensor = field(init=False)

    def __attrs_post_init__(self) -> None:
        length, config, device = self.prompts.max_length, self.target.config, self.target.device
        if length > self.target.max_positions:
            raise UsageError(
                f"conversations of {length} tokens exceed the {self.target.max_positions} positions of "
                f"{self.target.name}; allowed: smaller max_request and max_answer"
            )
        row_ids = torch.arange(self.rows, device=device)
        self._positions = RowPositions(torch.zeros_like(row_ids), row_ids)
        self._cache = Cache(
            layers=[RowCacheLayer(self._positions, length) for _ in range(config.num_hidden_layers)]
        )
        self._features = torch.zeros(
            self.rows, length, self.target.hidden_size, dtype=self.target.dtype, device=device
        )

    @torch.inference_mode()
    def run(self, indices: Iterator[int]) -> Iterator[Sequence]:
        """Yields conversations as they finish; ends when the indices do."""
        prefix = self.prompts.prefix
        # Rows keep the keys, values and features of the prefix for every conversation that follows. Its
        # last token is fed each time, because an empty opening needs its logits.
        for position, token in enumerate(prefix[:-1]):
            self._step([token] * self.rows, [position] * self.rows)
        active: list[Conversation | None] = [self._start(next(indices, None)) for _ in range(self.rows)]
        while any(active):
            tokens = [talk.tokens[talk.fed] if talk else prefix[0] for talk in active]
            hidden = self._step(tokens, [talk.fed if talk else 0 for talk in active])
            for talk in filter(None, active):
                talk.fed += 1
            self._write(hidden, active)
            for row, done in enumerate(active):
                if done and done.finished:
                    yield self._sequence(row, done)
                    active[row] = self._start(next(indices, None))

    def _start(self, index: int | None) -> Conversation | None:
        if index is None:
            return None
        rng = random.Random(f"{self.seed}-{index}")
        prefix = list(self.prompts.prefix)
        return Conversation(
            index=index,
            turns=deque(self.prompts.turns(rng)),
            stop_ids=self.prompts.stop_ids,
            rng=rng,
            tokens=prefix,
            roles=[FORCED] * len(prefix),
            fed=len(prefix) - 1,
        )

    def _step(self, tokens: list[int], positions: list[int]) -> Tensor:
        """Feeds one token per row; returns the features [B, H]."""
        device = self.target.device
        where = self._positions
        where.position = torch.tensor(positions, device=device)
        where.extent = max(positions) + 1
        output = self.target.decoder(
            input_ids=torch.tensor(tokens, device=device)[:, None],
            position_ids=where.position[:, None],
            attention_mask=self._masks(),
            past_key_values=self._cache,
            use_cache=True,
        )
        hidden: Tensor = output.last_hidden_state[:, 0]
        self._features[where.rows, where.position] = hidden
        return hidden

    def _masks(self) -> Tensor | dict[str, Tensor]:
        """Who sees what [B, 1, 1, extent], per layer type where the target has several."""
        where = self._positions
        keys = torch.arange(where.extent, device=where.position.device)
        seen = keys <= where.position[:, None]
        window = getattr(self.target.config, "sliding_window", None)
        recent = seen if window is None else seen & (keys > where.position[:, None] - window)
        if getattr(self.target.config, "layer_types", None):
            return {"full_attention": self._mask(seen), "sliding_attention": self._mask(recent)}
        return self._mask(recent)

    def _mask(self, seen: Tensor) -> Tensor:
        """The mask [B, 1, 1, extent] as the attention wants it: bool for SDPA, additive for any other."""
        if self.target.config._attn_implementation == "sdpa":
            return seen[:, None, None]
        floor = torch.finfo(self.target.dtype).min
        additive = torch.zeros(seen.shape, dtype=self.target.dtype, device=seen.device)
        return additive.masked_fill(~seen, floor)[:, None, None]

    def _write(self, hidden: Tensor, active: list[Conversation | None]) -> None:
        """Lets the target write the next token of every row that wants one."""
        rows = [row for row, talk in enumerate(active) if talk and talk.wants_token]
        if not rows:
            return
        talks = [talk for row in rows if (talk := active[row])]
        logits, ids = best(self.target.output_head, hidden[rows], _CANDIDATES)
        chosen = sample(
            logits,
            temperature=logits.new_tensor([talk.turn.temperature for talk in talks]),
            top_p=logits.new_tensor([talk.turn.top_p for talk in talks]),
            uniform=logits.new_tensor([talk.rng.random() for talk in talks]),
        )
        for talk, token in zip(talks, ids.gather(1, chosen[:, None])[:, 0].tolist(), strict=True):
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

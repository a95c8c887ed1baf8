"""One conversation in the making: turns of given tokens, each followed by what the target writes."""

from __future__ import annotations

import random
from collections import deque

from attrs import define, field, frozen

from specframe_plugins.training.shards import ANSWER, FORCED, USER

# A greedy text that repeats so many tokens has begun to circle; sampled text leaves shorter circles again.
_GREEDY_LOOP = 8
_SAMPLED_LOOP = 20
# Decoding does not stop where a greedy text circles, and a drafter that has learnt to go round is worth most
# there. So a circling answer goes on up to this many tokens.
_CIRCLING_ANSWER = 100


@frozen
class Turn:
    """Tokens that are given, then tokens that the target writes.

    Attributes:
        forced: ids that come first, whatever the target would have written.
        max_new: most tokens that the target writes after them.
        temperature: 0 is greedy.
        top_p: nucleus of the sampling.
        is_answer: the target answers here (as opposed to writing a request or a passage).
    """

    forced: tuple[int, ...]
    max_new: int
    temperature: float
    top_p: float
    is_answer: bool


@define
class Conversation:
    """A state machine that asks for one token at a time.

    Attributes:
        index: which conversation of the seed it is.
        turns: those that are still to come.
        stop_ids: ids that end a turn.
        max_length: where the conversation ends, finished or not.
        rng: its own source of randomness.
        tokens: all ids so far.
        roles: of every token.
        fed: how many tokens the target has read.
    """

    index: int
    turns: deque[Turn]
    stop_ids: frozenset[int]
    max_length: int
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
        elif len(self.tokens) >= self.max_length:
            self._over = True

    def _next_turn(self) -> None:
        turn = self.turns.popleft()
        if self.tokens and len(self.tokens) + len(turn.forced) >= self.max_length:
            self._over = True
            return
        self.turn = turn
        self.tokens += turn.forced
        self.roles += [FORCED] * len(turn.forced)
        self._written = 0
        self._seen.clear()

    def _loops(self) -> bool:
        length = _GREEDY_LOOP if self.turn.temperature == 0 else _SAMPLED_LOOP
        if self._written < length:
            return False
        gram = tuple(self.tokens[-length:])
        if gram in self._seen:
            return self.turn.temperature > 0 or self._written >= _CIRCLING_ANSWER
        self._seen.add(gram)
        return False

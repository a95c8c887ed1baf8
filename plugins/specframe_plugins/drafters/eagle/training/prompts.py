"""What a conversation consists of: forced tokens and what the target writes after them.

A conversation is a pure function of (seed, index): its openings, limits and sampling choices come from
its own random generator. So batches, workers and interruptions change nothing about what a conversation is.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from attrs import frozen

from .openings import BASE_OPENINGS, CHAT_OPENINGS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARK = "\u2981"
_OPENING_SHARE = 0.7
_LONG_USER_SHARE = 0.25
_SAMPLED_ANSWER_SHARE = 0.2


@frozen
class Turn:
    """Tokens that are given, then tokens that the target writes.

    Attributes:
        forced: ids that come first, whatever the target would have written.
        max_new: most tokens that the target writes after them.
        temperature: 0 is greedy.
        top_p: nucleus of the sampling.
        is_answer: the target answers here (as opposed to writing a request).
    """

    forced: tuple[int, ...]
    max_new: int
    temperature: float
    top_p: float
    is_answer: bool


@frozen
class Prompts:
    """Where conversations start, and how each goes on.

    Attributes:
        prefix: ids that every conversation starts with; computed once per row.
        after_user: ids between a request and its answer; empty for a base model.
        stop_ids: ids that end a turn.
        openings: tokenized openings, the empty one not included.
        max_user: most tokens of a request.
        max_answer: most tokens of an answer.
    """

    prefix: tuple[int, ...]
    after_user: tuple[int, ...]
    stop_ids: frozenset[int]
    openings: tuple[tuple[int, ...], ...]
    max_user: int
    max_answer: int

    @property
    def max_length(self) -> int:
        """Most tokens that one conversation can have."""
        opening = max(len(ids) for ids in self.openings)
        return len(self.prefix) + opening + self.max_user + len(self.after_user) + self.max_answer + 2

    def turns(self, rng: random.Random) -> tuple[Turn, ...]:
        """Draws the turns of one conversation."""
        opening = rng.choice(self.openings) if rng.random() < _OPENING_SHARE else ()
        greedy = rng.random() >= _SAMPLED_ANSWER_SHARE
        user_limit = self.max_user if rng.random() < _LONG_USER_SHARE else self.max_user // 2
        temperature, top_p = (0.0, 1.0) if greedy else (0.7, 0.95)
        if not self.after_user:
            # A base model knows no turns; a greedy continuation of nothing would be the same one each time.
            head = Turn(opening, self.max_user // 2, 1.0, 0.95, is_answer=False)
            return head, Turn((), self.max_answer, temperature, top_p, is_answer=True)
        return (
            Turn(opening, user_limit, 1.0, 0.95, is_answer=False),
            Turn(self.after_user, self.max_answer, temperature, top_p, is_answer=True),
        )


def build_prompts(
    tokenizer: PreTrainedTokenizerBase, eos_ids: frozenset[int], max_user: int, max_answer: int
) -> Prompts:
    """Reads the chat template, if there is one, into prefix and separators.

    The template is rendered once around a marker; what stands before the marker opens every conversation,
    what stands after it leads from the request to the answer.
    """

    def encode(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(text, add_special_tokens=False))

    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": _MARK}], add_generation_prompt=True, tokenize=False
        )
        before, _, after = str(text).partition(_MARK)
        after_user = encode(after)
        special = frozenset(tokenizer.all_special_ids)
        stops = eos_ids | (frozenset(after_user[:1]) & special)
        return Prompts(
            encode(before), after_user, stops, tuple(map(encode, CHAT_OPENINGS)), max_user, max_answer
        )
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else min(eos_ids)
    return Prompts((start,), (), eos_ids, tuple(map(encode, BASE_OPENINGS)), max_user, max_answer)

"""What a conversation consists of: forced tokens and what the target writes after them.

A conversation is a pure function of (seed, index): its kind, openings, limits and sampling choices come from
its own random generator. So batches, workers and interruptions change nothing about what a conversation is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from specframe.errors import UsageError
from specframe_plugins.training import passages
from specframe_plugins.training.conversation import Turn
from specframe_plugins.training.openings import BASE_OPENINGS, CHAT_OPENINGS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Part of every conversation's origin: raise it with any change that makes other text of the same seed.
GENERATOR_VERSION = "3"
_MARK = "\u2981"
_OPENING_SHARE = 0.7
_LONG_USER_SHARE = 0.25
_SAMPLED_ANSWER_SHARE = 0.15
_PASSAGE_SHARE = 0.4
_SEVERAL_TURNS_SHARE = 0.4
_MOST_FOLLOW_UPS = 3
# Of conversations, where the user brings requests.
_OWN_SHARE = 0.5
# As shares of the longest conversation; most texts stop earlier by themselves.
_PASSAGE_LENGTHS = (0.1, 0.25, 0.45, 0.65)
_PASSAGE_WEIGHTS = (0.3, 0.35, 0.25, 0.1)
_PASSAGES = (*passages.NEWS, *passages.ENCYCLOPEDIA, *passages.PROSE, *passages.CODE)


class Prompts(Protocol):
    """Where conversations start, and how each goes on."""

    @property
    def prefix(self) -> tuple[int, ...]:
        """Ids that every conversation starts with; computed once per row."""
        ...

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a turn."""
        ...

    @property
    def max_length(self) -> int:
        """Most tokens of a conversation."""
        ...

    def turns(self, rng: random.Random, index: int) -> list[Turn]:
        """Draws the turns of the conversation of that number."""
        ...


@frozen(kw_only=True)
class _Texts:
    """What texts of either kind are made from.

    Attributes:
        prefix, stop_ids, max_length: see `Prompts`.
        encode: from text to ids, without special ones.
        max_request: most tokens of a request or of a sampled beginning, passages aside.
        max_answer: most tokens of an answer or of a continuation.
        own: requests or beginnings of the user's own, tokenized.
    """

    prefix: tuple[int, ...]
    stop_ids: frozenset[int]
    max_length: int
    encode: Callable[[str], tuple[int, ...]]
    max_request: int
    max_answer: int
    own: tuple[tuple[int, ...], ...] = ()


@frozen(kw_only=True)
class ChatPrompts(_Texts):
    """Conversations in the target's chat template.

    Attributes:
        after_user: ids between a request and its answer.
        after_answer: ids between an answer and the next request.
    """

    after_user: tuple[int, ...]
    after_answer: tuple[int, ...]

    def turns(self, rng: random.Random, index: int) -> list[Turn]:
        """Draws a request or a passage with a task, each with an answer, and perhaps more of the same."""
        if self.own and rng.random() < _OWN_SHARE:
            return [self._answer(rng, rng.choice(self.own))]
        if rng.random() < _PASSAGE_SHARE:
            return self._about_a_passage(rng)
        opening = rng.choice(CHAT_OPENINGS) if rng.random() < _OPENING_SHARE else ""
        turns = [self._request(rng, self.encode(opening)), self._answer(rng)]
        if rng.random() < _SEVERAL_TURNS_SHARE:
            for _ in range(rng.randint(1, _MOST_FOLLOW_UPS)):
                follow_up = self.encode(rng.choice(passages.FOLLOW_UPS))
                turns += [self._request(rng, self.after_answer + follow_up), self._answer(rng)]
        return turns

    def _about_a_passage(self, rng: random.Random) -> list[Turn]:
        kind = rng.random()
        if kind < 0.2:
            language, opening = rng.choice(passages.FOREIGN)
            request = rng.choice(passages.TRANSLATION_REQUESTS).format(language=language, opening=opening)
            turns = [self._passage(rng, request, self.max_length // 8), self._answer(rng)]
        elif kind < 0.55:
            text = rng.choice(passages.REQUESTS_BEFORE) + rng.choice(_PASSAGES)
            turns = [self._passage(rng, text), self._answer(rng)]
        else:
            turns = [self._passage(rng, rng.choice(_PASSAGES)), *self._task(rng, self.encode("\n\n"))]
        while rng.random() < _SEVERAL_TURNS_SHARE:
            turns += self._task(rng, self.after_answer)
        return turns

    def _passage(self, rng: random.Random, text: str, limit: int | None = None) -> Turn:
        (share,) = rng.choices(_PASSAGE_LENGTHS, _PASSAGE_WEIGHTS)
        limit = limit or int(share * self.max_length)
        return Turn(self.encode(text), limit, rng.choice((0.8, 0.9, 1.0)), 0.95, is_answer=False)

    def _task(self, rng: random.Random, before: tuple[int, ...]) -> list[Turn]:
        """A task on what stands above, or a question that the target asks itself, and the answer."""
        if rng.random() < 0.5:
            return [self._answer(rng, before + self.encode(rng.choice(passages.REQUESTS_AFTER)))]
        start = before + self.encode(rng.choice(passages.QUESTION_STARTS))
        question = Turn(start, max(1, self.max_request // 3), 0.8, 0.95, is_answer=False)
        return [question, self._answer(rng)]

    def _request(self, rng: random.Random, forced: tuple[int, ...]) -> Turn:
        limit = self.max_request if rng.random() < _LONG_USER_SHARE else self.max_request // 2
        return Turn(forced, limit, 1.0, 0.95, is_answer=False)

    def _answer(self, rng: random.Random, forced: tuple[int, ...] = ()) -> Turn:
        greedy = rng.random() >= _SAMPLED_ANSWER_SHARE
        temperature, top_p = (0.0, 1.0) if greedy else (0.7, 0.95)
        return Turn(forced + self.after_user, self.max_answer, temperature, top_p, is_answer=True)


@frozen(kw_only=True)
class BasePrompts(_Texts):
    """Texts of a model without a chat template: it continues, first sampled, then mostly greedily."""

    def turns(self, rng: random.Random, index: int) -> list[Turn]:
        """Draws a beginning and its continuation; behind a passage, also what a cue leads to."""
        greedy = rng.random() >= _SAMPLED_ANSWER_SHARE
        temperature, top_p = (0.0, 1.0) if greedy else (0.7, 0.95)

        def goes_on(cue: str) -> Turn:
            return Turn(self.encode(cue), self.max_answer, temperature, top_p, is_answer=True)

        if self.own and rng.random() < _OWN_SHARE:
            return [Turn(rng.choice(self.own), self.max_answer, temperature, top_p, is_answer=True)]
        if rng.random() >= _PASSAGE_SHARE:
            opening = rng.choice(BASE_OPENINGS) if rng.random() < _OPENING_SHARE else ""
            limit = rng.choice((2, self.max_request // 4 + 1, self.max_request // 2 + 1, self.max_request))
            # A greedy continuation of nothing would be the same one each time, so sampled tokens come first.
            return [Turn(self.encode(opening), limit, 1.0, 0.95, is_answer=False), goes_on("")]
        (share,) = rng.choices(_PASSAGE_LENGTHS, _PASSAGE_WEIGHTS)
        _, foreign = rng.choice(passages.FOREIGN)
        opening = foreign if rng.random() < 0.15 else rng.choice(_PASSAGES)
        passage = Turn(
            self.encode(opening),
            int(share * self.max_length),
            rng.choice((0.8, 0.9, 1.0)),
            0.95,
            is_answer=False,
        )
        return [passage, goes_on(rng.choice(passages.CUES))]


def build_prompts(
    tokenizer: PreTrainedTokenizerBase,
    eos_ids: frozenset[int],
    max_request: int,
    max_answer: int,
    max_length: int,
    own: Sequence[str] = (),
) -> Prompts:
    """Reads the chat template, if there is one, into prefix and separators.

    The template is rendered around markers; what stands before the first opens every conversation, what
    follows leads from request to answer and from answer to the next request.

    Args:
        tokenizer: the target's.
        eos_ids: ids that end a generation.
        max_request: most tokens of a request, passages aside.
        max_answer: most tokens of an answer.
        max_length: most tokens of a conversation.
        own: requests of the user's own; half of the conversations answer one of them. Those too long for
            `max_length` are left out.

    Raises:
        UsageError: `max_length` leaves no room for a request and an answer.
    """

    def encode(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(text, add_special_tokens=False)) if text else ()

    def requests(around: int) -> tuple[tuple[int, ...], ...]:
        room = max_length - max_answer - around
        fitting = tuple(ids for text in own if len(ids := encode(text)) <= room)
        if own and not fitting:
            raise UsageError(f"none of the requests has at most the {room} tokens that max_length leaves")
        return fitting

    sizes = {"max_length": max_length, "max_request": max_request, "max_answer": max_answer}
    if tokenizer.chat_template:
        talk = [{"role": role, "content": _MARK} for role in ("user", "assistant", "user")]
        text = str(tokenizer.apply_chat_template(talk, add_generation_prompt=True, tokenize=False))
        before, _, after_answer, after_user = (encode(part) for part in text.split(_MARK))
        special = frozenset(tokenizer.all_special_ids)
        around = len(before) + len(after_user)
        prompts: Prompts = ChatPrompts(
            prefix=before,
            stop_ids=eos_ids | (frozenset(after_user[:1]) & special),
            after_user=after_user,
            after_answer=after_answer,
            encode=encode,
            own=requests(around),
            **sizes,
        )
    else:
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else min(eos_ids)
        around = 1
        prompts = BasePrompts(prefix=(start,), stop_ids=eos_ids, encode=encode, own=requests(around), **sizes)
    needed = around + max_request + max_answer
    if needed > max_length:
        raise UsageError(
            f"max_length {max_length} leaves no room for a request and an answer; allowed: at least {needed}"
        )
    return prompts

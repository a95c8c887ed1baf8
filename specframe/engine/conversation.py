"""Several turns with one engine, each of which goes on from what the one before left in the caches."""

from __future__ import annotations

from collections.abc import Generator
from typing import Unpack

from specframe.contracts.report import GenerationReport
from specframe.engine.engine import Engine
from specframe.request.output import Chunk
from specframe.request.request import Request, RequestSettings


class Conversation:
    """A chat with a model that has a chat template.

    Every turn sends all messages through the template. Keys and values stay in the caches as far as the ids
    agree with those of the turn before; the rest is read anew, so the answer is that of a fresh request with
    the same messages. Other requests of the engine may come in between: the next turn is then read from the
    start.

    Args:
        engine: answers.
        system: what the model is told before the first turn.
        **settings: fields of ``Request`` for every turn.

    Attributes:
        messages: said so far, each with "role" and "content".
    """

    def __init__(
        self, engine: Engine, system: str | None = None, **settings: Unpack[RequestSettings]
    ) -> None:
        self.engine = engine
        self._first = [] if system is None else [{"role": "system", "content": system}]
        self._settings: RequestSettings = {**settings}
        self.start_over()

    def start_over(self) -> None:
        """Forget all messages but the system's; a warm drafter forgets them too."""
        self.messages = [*self._first]
        self._settings["turn_of"] = object()  # what follows is a turn of another conversation

    def say(
        self, text: str, max_new_tokens: int | None = None, **settings: Unpack[RequestSettings]
    ) -> GenerationReport:
        """Take a turn and return the report of the answer; arguments and errors as in ``stream``."""
        for _ in self.stream(text, max_new_tokens, **settings):
            pass
        assert self.engine.report is not None
        return self.engine.report

    def stream(
        self, text: str, max_new_tokens: int | None = None, **settings: Unpack[RequestSettings]
    ) -> Generator[Chunk, None, None]:
        """Take a turn and yield the answer.

        An answer that is given up, by closing the iterator or by an interrupt, is remembered as far as it was
        yielded. A turn that fails is not remembered at all.

        Args:
            text: of the user.
            max_new_tokens: length limit; by default the config's.
            **settings: fields of ``Request`` that are different for this turn.

        Raises:
            UsageError: the model has no chat template, or the conversation does not fit its positions.
            SpecframeError: a component failed.
        """
        said = [*self.messages, {"role": "user", "content": text}]
        request = Request.of(Request.of(said, None, self._settings), max_new_tokens, settings)
        return self._answer(said, self.engine.stream(request))

    def _answer(
        self, said: list[dict[str, str]], chunks: Generator[Chunk, None, None]
    ) -> Generator[Chunk, None, None]:
        answer = ""
        try:
            for chunk in chunks:
                answer += chunk.text
                yield chunk
        except (GeneratorExit, KeyboardInterrupt):
            chunks.close()
            self._remember(said, answer)
            raise
        self._remember(said, answer)

    def _remember(self, said: list[dict[str, str]], answer: str) -> None:
        self.messages = [*said, {"role": "assistant", "content": answer}]

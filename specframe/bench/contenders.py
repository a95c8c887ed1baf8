"""What runs a configuration: this engine, or a peer; each answers a prompt with a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import attrs
from torch import Tensor

from specframe.bench.configurations import Configuration
from specframe.bench.rows import BenchRow, Steps
from specframe.engine.engine import Engine
from specframe.request.tasks import Task


class Contender(Protocol):
    """Runs one configuration.

    Attributes:
        label: of the configuration.
        greedy: emits the target's most likely token at every position, so that there is one right text.
    """

    label: str
    greedy: bool

    def warm_up(self, prompt_ids: Tensor, max_new_tokens: int) -> None:
        """Generate once for nothing: first passes pay for what later ones find done."""
        ...

    def answer(self, task: Task, prompt_ids: Tensor, order: int) -> BenchRow:
        """Answer a prompt [T] and return the row, still without ``lossless``."""
        ...


class EngineContender:
    """A strategy, or the autoregressive baseline, in this engine.

    Args:
        configuration: what was typed.
        engine: runs it.
    """

    def __init__(self, configuration: Configuration, engine: Engine) -> None:
        self.label = configuration.label
        self.engine = engine
        sampling = engine.config.sampling
        plain = sampling.repetition_penalty == 1 and not (engine.defaults and engine.defaults.entries)
        self.greedy = not engine.lossy and sampling.temperature == 0 and plain
        memory = engine.drafting.figures.memory_use()
        self._bytes: dict[str, Any] = attrs.asdict(memory) if memory else {}

    @property
    def drafts(self) -> bool:
        """Whether a drafter proposes anything."""
        return self.engine.drafting.drafter is not None

    def warm_up(self, prompt_ids: Tensor, max_new_tokens: int) -> None:
        """Generate once for nothing; a warm drafter does not keep it."""
        self.engine.generate(prompt_ids, max_new_tokens)
        self.engine.forget()

    def answer(self, task: Task, prompt_ids: Tensor, order: int) -> BenchRow:
        """Answer a prompt [T] and return the row, still without ``lossless``."""
        return BenchRow(
            report=self.engine.generate(prompt_ids, id=task.id, task=task.task),
            category=task.category,
            configuration=self.label,
            order=order,
            steps=Steps.of(self.engine.steps),
            **self._bytes,
        )


def rotated(contenders: Sequence[Contender], by: int) -> list[Contender]:
    """Return the contenders, ``by`` places further on, so that none is always first on a warm machine."""
    start = by % len(contenders)
    return [*contenders[start:], *contenders[:start]]

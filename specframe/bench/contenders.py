"""What runs a configuration: this engine, or a peer; each answers a prompt with a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs
from torch import Tensor

from specframe.bench.configurations import Configuration
from specframe.bench.rows import BenchRow, Steps
from specframe.contracts.report import GenerationReport
from specframe.engine.engine import Engine
from specframe.engine.memory import MemoryUse
from specframe.request.tasks import Task

# A test sees to it that no key of a report is missing among them.
_KEYS = {field.name for field in attrs.fields(BenchRow)}


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
        self.greedy = not engine.lossy and sampling.temperature == 0 and sampling.repetition_penalty == 1
        self._memory: MemoryUse | None = engine.drafting.memory_use()

    @property
    def drafts(self) -> bool:
        """Whether a drafter proposes anything."""
        return self.engine.drafting.output_head is not None

    def warm_up(self, prompt_ids: Tensor, max_new_tokens: int) -> None:
        """Generate once for nothing."""
        self.engine.generate(prompt_ids, max_new_tokens)

    def answer(self, task: Task, prompt_ids: Tensor, order: int) -> BenchRow:
        """Answer a prompt [T] and return the row, still without ``lossless``."""
        report = self.engine.generate(prompt_ids, id=task.id, task=task.task)
        memory = self._memory
        return BenchRow(
            **{name: getattr(report, name) for name in attrs.fields_dict(GenerationReport) if name in _KEYS},
            category=task.category,
            configuration=self.label,
            order=order,
            packed_bytes=memory.packed_bytes if memory else None,
            store_bytes=memory.store_bytes if memory else None,
            head_bytes=memory.head_bytes if memory else None,
            steps=Steps.of(self.engine.steps),
            lossless=None,
        )


def rotated(contenders: Sequence[Contender], by: int) -> list[Contender]:
    """Return the contenders, ``by`` places further on, so that none is always first on a warm machine."""
    start = by % len(contenders)
    return [*contenders[start:], *contenders[:start]]

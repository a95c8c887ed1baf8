"""The rows of a run, by configuration, task and prompt."""

from __future__ import annotations

import attrs

from specframe.bench.configurations import plain_name
from specframe.bench.rows import BenchRow
from specframe.config import AUTOREGRESSIVE, UNPRUNED

OVERALL = "overall"


@attrs.frozen(slots=True)
class Run:
    """The rows of one run, in the order in which they were measured.

    Attributes:
        rows: one per prompt and configuration, at least one.
        vocab_size: V of the target.
    """

    rows: tuple[BenchRow, ...]
    vocab_size: int

    @property
    def configurations(self) -> list[str]:
        """Labels in the order in which the first prompt ran them, which is the order they were typed in."""
        return list(dict.fromkeys(row.configuration for row in self.rows))

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, in the order of the rows."""
        return list(dict.fromkeys(row.report.task for row in self.rows))

    @property
    def prompts(self) -> int:
        """How many prompts have a row."""
        return len({row.prompt for row in self.rows})

    @property
    def baselines(self) -> list[str]:
        """What others are compared with: autoregressive and full, or the first where there is neither.

        Each once per sampling parameters that it was run with.
        """
        labels = self.configurations
        plain = [
            label for name in (AUTOREGRESSIVE, UNPRUNED) for label in labels if plain_name(label) == name
        ]
        return plain or labels[:1]

    @property
    def drafting(self) -> list[str]:
        """The configurations that draft and whose steps are known."""
        labels = dict.fromkeys(row.configuration for row in self.rows if row.report.drafter and row.steps)
        return [label for label in self.configurations if label in labels]

    def of(self, configuration: str, task: str = OVERALL) -> list[BenchRow]:
        """Return the rows of a configuration, of one task or of all."""
        of_one = [row for row in self.rows if row.configuration == configuration]
        return [row for row in of_one if task in (OVERALL, row.report.task)]

    def pairs(
        self, configuration: str, baseline: str, task: str = OVERALL
    ) -> list[tuple[BenchRow, BenchRow]]:
        """Return the rows of a configuration, each with the baseline's row of the same prompt.

        Prompts that only one of the two has are left out: an interrupted run is compared where it can be.
        So are pairs with different sampling parameters.
        """
        of_baseline = {row.prompt: row for row in self.of(baseline, task)}
        return [
            (row, base)
            for row in self.of(configuration, task)
            if (base := of_baseline.get(row.prompt)) and base.sampling == row.sampling
        ]

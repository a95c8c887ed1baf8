"""``specframe bench --record``: one configuration of a benchmark leaves a trace."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from specframe.bench.command import BenchArguments
from specframe.bench.configurations import Configuration
from specframe.bench.contenders import EngineContender
from specframe.bench.rows import BenchRow
from specframe.config import AUTOREGRESSIVE, UNPRUNED
from specframe.engine.engine import Engine
from specframe.errors import UsageError, unknown_name
from specframe.ops.notes import note
from specframe.replay.recording import TraceRecorder


def configuration_to_record(configurations: Sequence[Configuration], wanted: str | None = None) -> str:
    """Return the label of the configuration that leaves the trace.

    From trees over the full vocabulary any strategy can be scored, so ``UNPRUNED`` comes first, then whatever
    drafts, then the autoregressive baseline.

    Args:
        configurations: of the benchmark.
        wanted: the label that was asked for; None for the best there is.

    Raises:
        UsageError: there is none, or none of that label.
    """
    engines = [one for one in configurations if not one.is_peer]
    if wanted is not None:
        if wanted not in [one.label for one in engines]:
            raise unknown_name("configuration to record", wanted, [one.label for one in engines])
        return wanted
    if not engines:
        raise UsageError(f"peers leave no trace; allowed: --strategies with {UNPRUNED}, or another strategy")
    return min(engines, key=lambda one: (one.name != UNPRUNED, one.name == AUTOREGRESSIVE)).label


@contextlib.contextmanager
def bench_trace(
    configurations: Sequence[Configuration], arguments: BenchArguments, prompts: int
) -> Iterator[BenchTrace | None]:
    """Yield the recorder of a benchmark; None where no trace is asked for.

    Args:
        configurations: of the benchmark.
        arguments: say what is recorded, and where to.
        prompts: how many there are.

    Raises:
        UsageError: there is no such configuration, or a label without a trace.
    """
    if arguments.record is None:
        given = {
            "--record-configuration": arguments.record_configuration is not None,
            "--record-hidden": arguments.record_hidden,
        }
        for option in (name for name, is_given in given.items() if is_given):
            raise UsageError(f"{option} is given without --record; allowed: both, or neither")
        yield None
        return
    label = configuration_to_record(configurations, arguments.record_configuration)
    if arguments.record_hidden and label == AUTOREGRESSIVE:
        raise UsageError(
            f"--record-hidden is given and {AUTOREGRESSIVE} is recorded, which drafts nothing; allowed: a "
            f"strategy that drafts, such as {UNPRUNED}"
        )
    with contextlib.ExitStack() as stack:
        record = partial(
            TraceRecorder,
            path=arguments.record,
            topk=arguments.record_topk,
            prompt_window=arguments.record_window,
            strategy=label,
            hidden=arguments.record_hidden,
        )
        yield BenchTrace(label, lambda engine: stack.enter_context(record(engine)), prompts)


class BenchTrace:
    """The recorder of a benchmark that keeps a trace of one configuration.

    Args:
        label: of the configuration.
        record: begins to record an engine.
        prompts: how many it will answer.
    """

    def __init__(self, label: str, record: Callable[[Engine], TraceRecorder], prompts: int) -> None:
        self._label, self._record, self._prompts = label, record, prompts
        self._recorder: TraceRecorder | None = None

    def attach(self, contender: EngineContender) -> None:
        """Begin to watch a contender, if it is the one.

        Raises:
            UsageError: the file holds something else, or more ids are wanted than there are.
            SpecframeError: it cannot be written.
        """
        if contender.label == self._label:
            self._recorder = self._record(contender.engine)
            a_pass = self._recorder.hidden_bytes
            if a_pass:
                tokens = contender.engine.config.max_new_tokens
                most = a_pass * tokens * self._prompts
                note(
                    f"hidden states take up to {a_pass / 1024:,.1f} KiB a target pass: up to "
                    f"{most / 2**20:,.1f} MiB if all {self._prompts} prompts take {tokens} passes"
                )

    def answered(self, row: BenchRow) -> None:
        """Append what the contender has just answered, if it is the one.

        Raises:
            SpecframeError: the trace cannot be written.
        """
        if row.configuration == self._label and self._recorder is not None:
            self._recorder.add()

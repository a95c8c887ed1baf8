"""One benchmark from its options to its rows: every prompt, all configurations in turn, then the checks."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import attrs
import pluggy
import torch
from torch import Tensor

from specframe.bench.checks import (
    REPEATED_TOKENS,
    CheckResult,
    check_head_reads,
    check_isolation,
    check_lossless,
    check_rows_fetched,
)
from specframe.bench.command import BenchOptions, check_names
from specframe.bench.configurations import Configuration
from specframe.bench.contenders import Contender, EngineContender, rotated
from specframe.bench.lossless import LosslessCheck
from specframe.bench.manifest import (
    Manifest,
    machine_here,
    manifest_path,
    read_manifest,
    versions_here,
    write_manifest,
)
from specframe.bench.peers import Peer, peer_settings
from specframe.bench.resume import open_rows
from specframe.bench.rows import BenchRow, Steps
from specframe.bench.rows_file import RowsFile
from specframe.config import AUTOREGRESSIVE, RunConfig
from specframe.engine.assembly import build_engine, with_defaults
from specframe.errors import UsageError
from specframe.model.loading import load_pretrained
from specframe.model.target import Target
from specframe.ops.notes import note
from specframe.ops.progress_line import ProgressLine
from specframe.registry.choice import check_config, wanted_target_head
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe.registry.placement import find_device, find_dtype
from specframe.request.prompts import encode_prompt
from specframe.request.tasks import Task

_WARM_UP_PROMPT = "Say hello."
_WARM_UP_TOKENS = 16


@attrs.frozen(slots=True)
class BenchResult:
    """The rows of a benchmark, and its manifest with what its checks say."""

    rows: list[BenchRow]
    manifest: Manifest


class Recorder(Protocol):
    """Watches the engines of a benchmark, for example to keep a trace of what a strategy sees."""

    def attach(self, contender: EngineContender) -> None:
        """Begin to watch a contender; it is warm, and no prompt has been answered yet."""
        ...

    def answered(self, row: BenchRow) -> None:
        """Learn that a watched contender has answered a prompt; not called for repeated prompts."""
        ...


@attrs.frozen(slots=True, eq=False)
class _Prompt:
    task: Task
    ids: Tensor


def run_bench(
    options: BenchOptions, *, recorder: Recorder | None = None, manager: pluggy.PluginManager | None = None
) -> BenchResult:
    """Run a benchmark, or what is left of an interrupted one.

    Args:
        options: what to run.
        recorder: watches the engines.
        manager: plugin manager; by default one with every installed plugin.

    Raises:
        UsageError: something is not allowed; nothing has been run or written.
        SpecframeError: a failure at run time; complete prompts are in the file of rows.
    """
    manager = manager or create_plugin_manager()
    base = options.base
    _check_configurations(options.configurations, base, manager)
    if options.arguments.threads is not None:
        torch.set_num_threads(options.arguments.threads)
    device = find_device(base.device)
    loaded = load_pretrained(base.model, find_dtype(base.dtype), device)
    target = Target(loaded, base.target_forward, wanted_target_head(base, device))
    prompts, skipped = _encode(options, target)
    manifest = _manifest(options, target, prompts, skipped)
    with ExitStack() as stack:
        file = None
        if options.arguments.json is not None:
            ids = [prompt.task.id for prompt in prompts]
            file = stack.enter_context(open_rows(options.arguments.json, manifest, ids))
        rows = file.rows if file else []
        if file and len(rows) == len(prompts) * len(options.configurations):
            known = read_manifest(manifest_path(file.path))
            if known.finished:
                return BenchResult(rows, known)
        contenders = [_contender(one, base, target, manager) for one in options.configurations]
        checks = _warm_up(contenders, target)
        for contender in contenders:
            if recorder and isinstance(contender, EngineContender):
                recorder.attach(contender)
        with (
            _told_how_to_go_on(file, len(contenders), len(prompts)),
            ProgressLine("bench", len(prompts) * len(contenders), len(rows), "generations") as progress,
        ):
            for index in range(len(rows) // len(contenders), len(prompts)):
                group = []
                for order, contender in enumerate(rotated(contenders, index)):
                    prompt = prompts[index]
                    group.append(contender.answer(prompt.task, prompt.ids, order))
                    if recorder and isinstance(contender, EngineContender):
                        recorder.answered(group[-1])
                    progress.advance()
                group = _judged(group, contenders, target, prompts[index].ids, options.tolerance)
                if file:
                    file.append(group)
                else:
                    rows += group
        checks += _closing_checks(contenders, prompts[0], rows)
        manifest = attrs.evolve(manifest, finished=True, findings=checks)
        if file:
            write_manifest(manifest, manifest_path(file.path))
    return BenchResult(rows, manifest)


def _check_configurations(
    configurations: Sequence[Configuration], base: RunConfig, manager: pluggy.PluginManager
) -> None:
    """Refuse before the model is loaded what can be refused without it.

    Raises:
        UsageError: an unknown name, or an option or combination that is not allowed.
    """
    check_names(configurations, base, build_registry(manager))
    for configuration in configurations:
        if configuration.is_peer:
            peer_settings(configuration)
        else:
            config = configuration.run_config(base)
            check_config(with_defaults(config)[0], manager)


@contextmanager
def _told_how_to_go_on(file: RowsFile | None, contenders: int, prompts: int) -> Iterator[None]:
    """Say on standard error what an interrupt left, and that it can be continued."""
    try:
        yield
    except KeyboardInterrupt:
        if file is not None:
            note(
                f"interrupted after {len(file.rows) // contenders} of {prompts} prompts; the same command "
                "goes on from there"
            )
        raise


def _encode(options: BenchOptions, target: Target) -> tuple[list[_Prompt], int]:
    """Return the prompts that fit into the target, and how many do not.

    Raises:
        UsageError: one does not, and bad prompts are not to be skipped; or none does.
    """
    prompts: list[_Prompt] = []
    too_long: list[str] = []
    room = target.max_positions - options.base.max_new_tokens
    for task in options.tasks:
        ids = encode_prompt(target.tokenizer, task.prompt, options.arguments.chat)
        if 0 < len(ids) <= room:
            prompts.append(_Prompt(task, ids))
            continue
        if not options.arguments.skip_bad:
            raise UsageError(
                f"prompt {task.id} has {len(ids):,} tokens; allowed: 1 to {room:,} with "
                f"{options.base.max_new_tokens:,} new ones on {target.name}; --skip-bad leaves it out"
            )
        too_long.append(task.id)
    if not prompts:
        raise UsageError(f"{options.arguments.source} has no prompt left to run")
    if too_long:
        what = "prompt that does" if len(too_long) == 1 else "prompts that do"
        note(f"left out {len(too_long)} {what} not fit into the target, the first: {too_long[0]}")
    return prompts, len(too_long)


def _manifest(options: BenchOptions, target: Target, prompts: Sequence[_Prompt], skipped: int) -> Manifest:
    base = options.base
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(f"{prompt.task.id}\n{prompt.ids.tolist()}\n".encode())
    settings: dict[str, Any] = {
        "configurations": [configuration.label for configuration in options.configurations],
        **{name: value for name, value in base.flat().items() if name != "strategy"},
        "chat": options.arguments.chat,
        "tasks": options.arguments.source,
        "prompts": len(prompts),
        "prompts_digest": digest.hexdigest()[:16],
        "tolerance": options.tolerance,
    }
    return Manifest(
        command=options.command,
        date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        settings=settings,
        versions=versions_here(),
        machine=machine_here(target.device),
        target={
            "vocab_size": target.vocab_size,
            "hidden_size": target.hidden_size,
            "layers": int(target.config.num_hidden_layers),
            "parameters": target.parameters,
        },
        skipped=options.skipped + skipped,
    )


def _contender(
    configuration: Configuration, base: RunConfig, target: Target, manager: pluggy.PluginManager
) -> Contender:
    if configuration.is_peer:
        return Peer(configuration, target, base)
    engine = build_engine(configuration.run_config(base), manager=manager, target=target)
    return EngineContender(configuration, engine)


def _warm_up(contenders: Sequence[Contender], target: Target) -> list[CheckResult]:
    """Let every contender generate a little, and watch what it reads meanwhile."""
    prompt_ids = encode_prompt(target.tokenizer, _WARM_UP_PROMPT)
    checks = []
    for contender in contenders:
        if isinstance(contender, EngineContender):
            check = check_head_reads(contender.label, contender.engine, prompt_ids)
            checks += [check] if check else []
        contender.warm_up(prompt_ids, _WARM_UP_TOKENS)
    return checks


def _judged(
    group: Sequence[BenchRow],
    contenders: Sequence[Contender],
    target: Target,
    prompt_ids: Tensor,
    tolerance: float,
) -> list[BenchRow]:
    """Return the rows of one prompt with what can be said about their losslessness."""
    greedy = {contender.label for contender in contenders if contender.greedy}
    baseline = next((row for row in group if row.report.strategy == AUTOREGRESSIVE), None)
    if baseline is not None and baseline.configuration not in greedy:
        baseline = None
    check = LosslessCheck(target, prompt_ids, baseline.report.token_ids if baseline else None, tolerance)
    return [
        attrs.evolve(row, lossless=check.judge(row, is_baseline=row is baseline))
        if row.configuration in greedy
        else row
        for row in group
    ]


def _closing_checks(
    contenders: Sequence[Contender], first: _Prompt, rows: Sequence[BenchRow]
) -> list[CheckResult]:
    checks: list[CheckResult | None] = []
    for contender in contenders:
        own = [row for row in rows if row.configuration == contender.label]
        checks += [check_lossless(contender.label, own)]
        if isinstance(contender, EngineContender) and contender.drafts:
            limit = min(REPEATED_TOKENS, contender.engine.config.max_new_tokens)
            report = contender.engine.generate(first.ids, limit)
            again = Steps.of(contender.engine.steps)
            checks += [
                check_rows_fetched(contender.label, own),
                check_isolation(contender.label, own[0], again, report.costs),
            ]
    return [check for check in checks if check is not None]

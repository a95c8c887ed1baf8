"""How well a head drafts in the engine, on held-out prompts, with a chain and with the default tree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from attrs import frozen
from torch import Tensor

from specframe.config import OFF, RunConfig
from specframe.contracts.report import GenerationReport
from specframe.engine.assembly import build_engine
from specframe.model.target import Target
from specframe.request.tasks import Task
from specframe_plugins.training.shards import ANSWER, ShardSet
from specframe_plugins.training.validation import CHAIN_LENGTH, NEW_TOKENS, encode_tasks

_T = TypeVar("_T")

CONVERSATIONS = "held-out conversations"
PROMPTS = "held-out prompts"

# What the context said before says nothing about the head.
_HEAD_ALONE = {"lookup": 0}
SHAPES: dict[str, dict[str, int]] = {
    f"chain of {CHAIN_LENGTH}": {
        "depth": CHAIN_LENGTH,
        "branching": 1,
        "nodes": CHAIN_LENGTH + 1,
        **_HEAD_ALONE,
    },
    "tree of 16 nodes": {"depth": 5, "branching": 4, "nodes": 16, **_HEAD_ALONE},
    "default tree": _HEAD_ALONE,
}


@frozen
class Prompt:
    """Something to decode.

    Attributes:
        task: what kind it is.
        ids: [T].
    """

    task: str
    ids: Tensor


@frozen
class Drafting:
    """What one shape of draft tree achieved on one task.

    Attributes:
        shape: chain or tree.
        task: the task, ``CONVERSATIONS``, or ``PROMPTS`` for the prompts of all tasks together.
        tau: tokens per target pass.
        accept_by_depth: share of target passes that accepted a drafted token at depth 1, 2, ...
        target_passes: how many passes the figures come from.
    """

    shape: str
    task: str
    tau: float
    accept_by_depth: tuple[float, ...]
    target_passes: int


def held_out_prompts(shards: ShardSet, numbers: list[int], count: int) -> list[Prompt]:
    """The requests of held-out conversations, each up to where the answer starts."""
    prompts = []
    for number in spread(numbers, count):
        sequence = shards[number]
        answer = (sequence.roles == ANSWER).nonzero()
        if len(answer):
            prompts.append(Prompt(CONVERSATIONS, sequence.tokens[: int(answer[0])].long()))
    return prompts


def task_prompts(tasks: Sequence[Task], target: Target) -> list[Prompt]:
    """The first turns of tasks, those that leave room for an answer."""
    return [Prompt(task.task, torch.tensor(ids)) for task, ids in encode_tasks(tasks, target)]


def spread(items: list[_T], count: int) -> list[_T]:
    """At most `count` items at even distances."""
    count = min(count, len(items))
    return [items[order * len(items) // count] for order in range(count)]


def decode(
    target: Target,
    drafter: str,
    checkpoint: Path,
    dtype: str,
    prompts: list[Prompt],
    report: Callable[[int], None],
) -> list[Drafting]:
    """Decodes every prompt with trees of each of `SHAPES`, over the full vocabulary.

    Args:
        target: the loaded target.
        drafter: what drafts with the head, by name.
        checkpoint: the head.
        dtype: the target's, by name.
        prompts: what to decode.
        report: called with the number of generations done.
    """
    results: list[Drafting] = []
    done = 0
    for shape, options in SHAPES.items():
        config = RunConfig(
            strategy="full",
            drafter=drafter,
            max_new_tokens=NEW_TOKENS,
            dtype=dtype,
            device=str(target.device),
            generation_config="none",
            costs=OFF,  # what a head drafts must not depend on the machine that trained it
            options={"drafter": {"checkpoint": checkpoint, **options}},
        )
        engine = build_engine(config, target=target)
        reports: dict[str, list[GenerationReport]] = {}
        for prompt in prompts:
            reports.setdefault(prompt.task, []).append(engine.generate(prompt.ids))
            done += 1
            report(done)
        of_tasks = [found for task, those in reports.items() if task != CONVERSATIONS for found in those]
        if of_tasks:
            reports[PROMPTS] = of_tasks
        results += [_sum_up(shape, task, found) for task, found in reports.items()]
    return results


def _sum_up(shape: str, task: str, reports: Iterable[GenerationReport]) -> Drafting:
    drafted = [found for found in reports if found.target_passes]
    passes = sum(found.target_passes for found in drafted)
    depths = torch.zeros(max((len(found.accept_by_depth or ()) for found in drafted), default=0))
    for found in drafted:
        depths += torch.tensor(found.accept_by_depth) * found.target_passes
    return Drafting(
        shape=shape,
        task=task,
        tau=sum(found.tau * found.target_passes for found in drafted) / max(passes, 1),
        accept_by_depth=tuple((depths / max(passes, 1)).tolist()),
        target_passes=passes,
    )

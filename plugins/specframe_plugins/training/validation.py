"""Held-out prompts that nobody generated: the target answers them once, heads are measured on the answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from torch import nn

from specframe.errors import UsageError
from specframe.model.target import Target
from specframe.ops.progress_line import ProgressLine
from specframe.request.prompts import encode_prompt
from specframe.request.tasks import Task, built_in_tasks, choose, read_tasks
from specframe_plugins.training.architecture import Architecture
from specframe_plugins.training.conversation import Turn
from specframe_plugins.training.features import TrainingData, keep_features
from specframe_plugins.training.generation import BatchedGenerator
from specframe_plugins.training.heldout import chain_acceptance
from specframe_plugins.training.origin import target_metadata, text_hash
from specframe_plugins.training.shards import ShardSet, ShardWriter

CHAIN_LENGTH = 3
NEW_TOKENS = 96


@frozen
class TaskPrompts:
    """Conversations that are a given prompt and a greedy answer.

    Attributes:
        prompts: ids of each.
        stop_ids: ids that end an answer.
        max_length: most tokens of a conversation.
        prefix: nothing is shared.
    """

    prompts: tuple[tuple[int, ...], ...]
    stop_ids: frozenset[int]
    max_length: int
    prefix: tuple[int, ...] = ()

    def turns(self, rng: random.Random, index: int) -> list[Turn]:
        """Returns the prompt of that number with its answer."""
        return [Turn(self.prompts[index], NEW_TOKENS, 0.0, 1.0, is_answer=True)]


def held_out_tasks(path: Path | None, count: int) -> list[Task]:
    """The prompts to measure on: those of a file, or the built-in ones; every kind gets its share.

    Raises:
        UsageError: the file is none of the known formats.
    """
    tasks = built_in_tasks() if path is None else read_tasks(path).tasks
    return choose(tasks)[:count]


def encode_tasks(tasks: Sequence[Task], target: Target) -> list[tuple[Task, tuple[int, ...]]]:
    """The ids of each prompt, wrapped as `specframe run` does; without those that leave no room to answer."""
    encoded = [(task, tuple(encode_prompt(target.tokenizer, task.prompt).tolist())) for task in tasks]
    return [(task, ids) for task, ids in encoded if len(ids) + NEW_TOKENS <= target.max_positions]


def answered(
    target: Target, tasks: Sequence[Task], folder: Path, layers: tuple[int, ...] = ()
) -> TrainingData:
    """Lets the target answer every prompt greedily; answers that are there already stay.

    Args:
        target: the loaded target.
        tasks: the prompts.
        folder: where the answers are kept.
        layers: whose inputs the head reads.

    Raises:
        UsageError: no prompt fits the target.
    """
    prompts = tuple(ids for _, ids in encode_tasks(tasks, target))
    if not prompts:
        raise UsageError(
            f"no held-out prompt leaves room for an answer within {target.max_positions} positions"
        )
    metadata = {
        **target_metadata(target),
        "dtype": str(target.dtype),
        "prompts": text_hash(prompts),
        "new_tokens": str(NEW_TOKENS),
    }
    found = ShardSet.open(folder)
    missing = sorted(set(range(len(prompts))) - set(found.only(metadata).indices))
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        longest = max(map(len, prompts)) + NEW_TOKENS
        generator = BatchedGenerator(
            target, TaskPrompts(prompts, target.stop_ids, longest), min(len(missing), 32), seed=0
        )
        writer = ShardWriter(folder, 0, 2**31, target.vocab_size, metadata, keep_features=True)
        with ProgressLine("held-out answers", len(missing), unit="prompts") as progress:
            for sequence in generator.run(iter(missing)):
                writer.add(sequence)
                progress.advance()
        writer.close()
    keep_features(ShardSet.open(folder, layers=layers), target, lambda done: None, layers)
    return TrainingData(ShardSet.open(folder, layers=layers).only(metadata), target, layers)


def evaluation(architecture: Architecture[Any], answers: TrainingData) -> Callable[[nn.Module], float]:
    """Returns what the trainer calls on the way: tau of a chain of 3."""

    def evaluate(head: nn.Module) -> float:
        found = chain_acceptance(architecture, head, answers, range(len(answers.shards)), CHAIN_LENGTH)
        return found.tau(CHAIN_LENGTH)

    return evaluate

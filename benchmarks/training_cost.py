"""What a million tokens of a training cost here: generation, then training steps at depth 1 and unrolled.

The target writes conversations until the batch is in its stride, then for some time more; on these
conversations the head is trained for some batches of each kind. Rates count all tokens of a conversation,
template included.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import attrs
import torch

from specframe.model.loading import load_pretrained
from specframe.model.target import Target
from specframe_plugins.drafters.eagle.architecture import EagleArchitecture
from specframe_plugins.training.batches import load_batches, plan_epoch
from specframe_plugins.training.command import build_trainer
from specframe_plugins.training.features import TrainingData
from specframe_plugins.training.generation import BatchedGenerator
from specframe_plugins.training.options import TrainOptions
from specframe_plugins.training.prompts import build_prompts
from specframe_plugins.training.shards import Sequence, ShardSet, ShardWriter
from specframe_plugins.training.statistics import read_statistics
from specframe_plugins.training.trainer import Trainer


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=96, help="conversations decoded at once")
    parser.add_argument("--seconds", type=float, default=60.0, help="of generation that are counted")
    parser.add_argument(
        "--batches", type=int, default=12, help="training steps of each kind that are counted"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    target = Target(load_pretrained(arguments.model, torch.bfloat16, torch.device("cpu")))
    options = TrainOptions()
    length = min(options.max_length, target.max_positions)
    prompts = build_prompts(
        target.tokenizer, target.stop_ids, options.max_request, options.max_answer, length
    )
    generator = BatchedGenerator(target, prompts, arguments.rows, seed=0)
    conversations = generator.run(itertools.count())
    # Short conversations finish first, so the first ones say nothing about the rate.
    written = list(itertools.islice(conversations, 2 * arguments.rows))
    counted, taken = _timed(conversations, arguments.seconds)
    print("part                 tokens/s  hours per million tokens")
    _row("generation", sum(len(one.tokens) for one in counted) / taken)
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(target, options, [*written, *counted], Path(folder))
        for depths in (1, options.unroll_steps):
            _row(f"training, depth {depths}", _training_rate(trainer, depths, arguments.batches))


def _timed(conversations: Iterator[Sequence], seconds: float) -> tuple[list[Sequence], float]:
    """Return what was finished in about so many seconds, and how many they were."""
    begin = monotonic()
    counted = []
    for conversation in conversations:
        counted.append(conversation)
        if monotonic() - begin >= seconds:
            break
    return counted, monotonic() - begin


def _trainer(target: Target, options: TrainOptions, sequences: list[Sequence], folder: Path) -> Trainer:
    writer = ShardWriter(folder, 0, 2**31, target.vocab_size, {}, keep_features=True)
    for sequence in sequences:
        writer.collect(sequence)
    writer.close()
    data = TrainingData(ShardSet.open(folder), target)
    numbers = list(range(len(data.shards)))
    statistics = read_statistics(data, numbers)
    return build_trainer(
        attrs.evolve(options, evaluations=0),
        EagleArchitecture(),
        data,
        numbers,
        statistics,
        folder / "state.pt",
    )


def _training_rate(trainer: Trainer, depths: int, count: int) -> float:
    """Return tokens per second of training steps over the first batches of an epoch."""
    data, options = trainer.data, trainer.options
    lengths = {number: data.shards.length(number) for number in trainer.numbers}
    plan = plan_epoch(lengths, options.batch_tokens, options.seed, 0)[: count + 2]
    tokens, begin = 0, monotonic()
    for number, batch in enumerate(load_batches(data, plan)):
        if number == 2:
            tokens, begin = 0, monotonic()
        trainer.update(batch, depths)
        tokens += sum(lengths[which] for which in plan[number])
    return tokens / (monotonic() - begin)


def _row(part: str, rate: float) -> None:
    print(f"{part:<20} {rate:<9,.0f} {1e6 / rate / 3600:.2f}")


if __name__ == "__main__":
    main()

"""`specframe train`: generate, train, write the checkpoint, report."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors.torch import save as to_bytes

from specframe.contracts.records import check_folder_place, write_whole
from specframe.contracts.report import VERSION
from specframe.errors import UsageError
from specframe.model.target import Target
from specframe.ops.notes import note
from specframe.ops.progress_line import ProgressLine
from specframe.registry.components import TrainRequest
from specframe.registry.placement import name_of
from specframe_plugins.training.architecture import Architecture
from specframe_plugins.training.card import TrainingRecord, summary, write_card
from specframe_plugins.training.corpus import generation_seconds, load_target, top_up
from specframe_plugins.training.curves import write_curves
from specframe_plugins.training.decoding import SHAPES, decode, held_out_prompts, task_prompts
from specframe_plugins.training.features import TrainingData
from specframe_plugins.training.heldout import chain_acceptance
from specframe_plugins.training.options import TrainOptions
from specframe_plugins.training.shards import check_data_folder
from specframe_plugins.training.statistics import DataStatistics, read_statistics, split
from specframe_plugins.training.trainer import Trainer
from specframe_plugins.training.validation import answered, evaluation, held_out_tasks

FREQUENCIES = "token_frequencies.safetensors"
_HELD_OUT_DEPTHS = 5
_GOES_ON = "the same command goes on from there"


def train(request: TrainRequest, architecture: Architecture[Any]) -> None:
    """Makes a head for a target out of nothing but the target.

    Every stage goes on where an earlier, interrupted run with the same settings stopped.

    Args:
        request: target, place of the checkpoint, and `TrainOptions`.
        architecture: what kind of head.

    Raises:
        UsageError: the place is taken, or the run folder or the data belong to something else.
        SpecframeError: a worker died.
    """
    options: TrainOptions = request.options
    out = request.out if request.out.name else request.out.absolute()  # of "." there is nothing beside
    if not out.name:
        raise UsageError(f"the checkpoint cannot go to {out}; allowed: a new directory")
    work_dir = options.work_dir or out.with_name(out.name + ".work")
    folder = options.data or work_dir / "shards"
    _check_places(out, work_dir, options.data, architecture)
    tasks = held_out_tasks(options.heldout_tasks, options.heldout_prompts)
    target = load_target(request)
    if options.start is not None:
        architecture.load(options.start, target)  # what is wrong with it is known before any data are made
    layers = architecture.feature_layers(target)
    shards = top_up(request, target, folder, layers)
    training, held_out = split(shards)
    if not training or not held_out:
        raise UsageError(
            f"{len(shards)} conversations are too few to train and hold out; allowed: more tokens"
        )
    _write_settings(request, work_dir)
    data = TrainingData(shards, target, layers)
    answers = answered(target, tasks, work_dir / "validation", layers)
    statistics = read_statistics(data, training)
    trainer = build_trainer(options, architecture, data, training, statistics, work_dir / "state.pt")
    trainer.evaluate = evaluation(architecture, answers)
    try:
        with ProgressLine("train", trainer.total_tokens, trainer.tokens_done, "tokens") as progress:
            trainer.run(lambda loss: progress.update(trainer.tokens_done, _note(trainer, loss)))
    except KeyboardInterrupt:
        note(f"interrupted after {trainer.step} of {trainer.total_steps} steps; {_GOES_ON}")
        raise
    drawn = write_curves(trainer, work_dir)

    head = trainer.finished_head()
    teacher_forced = chain_acceptance(architecture, head, data, held_out, _HELD_OUT_DEPTHS)
    real_prompts = chain_acceptance(architecture, head, answers, range(len(answers.shards)), _HELD_OUT_DEPTHS)
    architecture.save(head, out)
    write_curves(trainer, out)
    _save_frequencies(statistics, target, out / FREQUENCIES)
    prompts = held_out_prompts(shards, held_out, options.heldout_prompts) + task_prompts(tasks, target)
    with (
        ProgressLine("report", len(SHAPES) * len(prompts), unit="prompts") as progress,
        architecture.measuring(),
    ):
        drafting = decode(target, architecture.drafter, out, name_of(target.dtype), prompts, progress.update)
    record = TrainingRecord(
        drafter=architecture.drafter,
        target=request.model,
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        conversations=len(training),
        held_out_conversations=len(held_out),
        tokens=shards.token_count,
        written_tokens=statistics.written_tokens,
        parameters=sum(parameter.numel() for parameter in head.parameters()),
        induction_groups=architecture.induction_groups(head),
        epochs=options.epochs,
        steps=trainer.step,
        generation_s=generation_seconds(folder),
        training_s=trainer.seconds,
        teacher_forced=teacher_forced,
        real_prompts=real_prompts,
        evaluations=tuple(trainer.evaluations),
        drafting=tuple(drafting),
    )
    write_card(record, out)
    print(summary(record))
    if not drawn:
        print("no picture of the curves: matplotlib is not installed (pip install 'specframe[report]')")


def _check_places(out: Path, work_dir: Path, data: Path | None, architecture: Architecture[Any]) -> None:
    """Raise `UsageError` for a place that is taken, cannot be written, or was mistyped."""
    for place in (out, work_dir):
        check_folder_place(place)
    if out.exists() and any(out.iterdir()) and not architecture.is_at(out):
        raise UsageError(
            f"{out} exists and holds no head of drafter {architecture.drafter!r}; allowed: a new directory, "
            "or such a head, which is replaced"
        )
    if data is None:
        return
    if not data.is_dir():
        raise UsageError(
            f"data {data} is no folder; allowed: one that exists, to be read and topped up; without data, "
            f"the conversations go to {work_dir / 'shards'}"
        )
    check_data_folder(data)


def _note(trainer: Trainer, loss: float) -> str:
    latest = f", held-out tau {trainer.evaluations[-1].tau:.2f}" if trainer.evaluations else ""
    return f"loss {loss:.3f}{latest}"


def _write_settings(request: TrainRequest, work_dir: Path) -> None:
    """Writes down what was asked for; a later run with other settings says so in its own words."""
    settings = {
        "specframe_version": VERSION,
        "torch_version": torch.__version__,
        "model": request.model,
        "out": request.out,
        **attrs.asdict(request.options),
    }
    work_dir.mkdir(parents=True, exist_ok=True)
    text = json.dumps(settings, indent=2, default=str) + "\n"
    write_whole(work_dir / "config.json", text.encode())


def build_trainer(
    options: TrainOptions,
    architecture: Architecture[Any],
    data: TrainingData,
    numbers: list[int],
    statistics: DataStatistics,
    state_path: Path,
) -> Trainer:
    """Returns a trainer with a head to train, fresh or from a checkpoint.

    Args:
        options: how to train.
        architecture: what kind of head.
        data: the conversations.
        numbers: which of them to train on.
        statistics: of those.
        state_path: where its state is kept.
    """
    torch.manual_seed(options.seed)
    target = data.target
    start = options.start
    return Trainer(
        architecture=architecture,
        head=architecture.load(start, target) if start else architecture.build(target),
        data=data,
        numbers=numbers,
        frequent=statistics.frequent(options.frequent_tokens),
        feature_scale=statistics.feature_scale,
        input_scale=statistics.input_scale,
        options=options,
        state_path=state_path,
    )


def _save_frequencies(statistics: DataStatistics, target: Target, path: Path) -> None:
    """Writes how often the target wrote each id, the most frequent first."""
    token_ids = statistics.counts.argsort(descending=True, stable=True)[: int((statistics.counts > 0).sum())]
    tensors = {"token_ids": token_ids.to(torch.int32), "counts": statistics.counts[token_ids]}
    metadata = {
        "tokenizer_fingerprint": target.tokenizer_fingerprint,
        "source": f"{statistics.written_tokens:,} tokens that {target.name} wrote itself",
    }
    write_whole(path, to_bytes(tensors, metadata))

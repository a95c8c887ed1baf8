"""`specframe train` for the EAGLE drafter: generate, train, write the checkpoint, report."""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from specframe.components import TrainRequest
from specframe.errors import UsageError
from specframe.models import load_pretrained
from specframe.target import Target
from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.drafters.eagle.training.card import TrainingRecord, summary, write_card
from specframe_plugins.drafters.eagle.training.decoding import decode, held_out_prompts, task_prompts
from specframe_plugins.drafters.eagle.training.features import TrainingData, keep_features
from specframe_plugins.drafters.eagle.training.heldout import chain_acceptance
from specframe_plugins.drafters.eagle.training.options import TrainOptions
from specframe_plugins.drafters.eagle.training.progress import ProgressLine
from specframe_plugins.drafters.eagle.training.shards import ShardSet
from specframe_plugins.drafters.eagle.training.statistics import DataStatistics, read_statistics, split
from specframe_plugins.drafters.eagle.training.trainer import Recipe, Trainer
from specframe_plugins.drafters.eagle.training.workers import GenerationJob, generate

FREQUENCIES = "token_frequencies.safetensors"
_HELD_OUT_DEPTHS = 5


def train(request: TrainRequest) -> None:
    """Makes an EAGLE head for a target out of nothing but the target.

    Every stage goes on where an earlier, interrupted run with the same settings stopped.

    Args:
        request: target, place of the checkpoint, and `TrainOptions`.

    Raises:
        UsageError: the place is taken, or the work directory belongs to other settings.
        SpecframeError: a worker died.
    """
    options: TrainOptions = request.options
    out = request.out
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / "config.json").is_file())):
        raise UsageError(f"{out} exists and is no checkpoint; allowed: a new directory")
    work_dir = options.work_dir or out.with_name(out.name + ".work")
    target = Target.from_loaded(
        load_pretrained(request.model, getattr(torch, options.dtype), torch.device(options.device))
    )
    shards = _generate(request, target, work_dir / "shards")
    training, held_out = split(shards)
    if not training or not held_out:
        raise UsageError(
            f"{len(shards)} conversations are too few to train and hold out; allowed: more tokens"
        )
    data = TrainingData(shards, target)
    statistics = read_statistics(data, training)
    trainer = _train(options, data, training, statistics, work_dir / "state.pt")

    head = trainer.head.eval()
    teacher_forced = chain_acceptance(head, data, held_out, _HELD_OUT_DEPTHS)
    save_head(head.to(torch.bfloat16), out)
    _save_frequencies(statistics, target, out / FREQUENCIES)
    prompts = held_out_prompts(shards, held_out, options.heldout_prompts)
    if options.heldout_tasks:
        prompts += task_prompts(options.heldout_tasks, target, options.heldout_prompts)
    with ProgressLine("report", 2 * len(prompts), unit="prompts") as progress:
        drafting = decode(target, out, options.dtype, prompts, progress.update)
    record = TrainingRecord(
        target=request.model,
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        conversations=len(training),
        held_out_conversations=len(held_out),
        tokens=shards.token_count,
        written_tokens=statistics.written_tokens,
        parameters=sum(parameter.numel() for parameter in head.parameters()),
        epochs=options.epochs,
        steps=trainer.total_steps,
        generation_s=_generation_seconds(work_dir),
        training_s=trainer.seconds,
        teacher_forced=teacher_forced,
        drafting=tuple(drafting),
    )
    write_card(record, out)
    print(summary(record))


def _generate(request: TrainRequest, target: Target, folder: Path) -> ShardSet:
    options: TrainOptions = request.options
    on_cpu = target.device.type == "cpu"
    job = GenerationJob(
        model=request.model,
        dtype=options.dtype,
        device=options.device,
        folder=folder,
        seed=options.seed,
        rows=options.rows,
        workers=options.workers or ((os.cpu_count() or 1) if on_cpu else 1),
        max_request=options.max_request,
        max_answer=options.max_answer,
        max_length=min(options.max_length, target.max_positions),
        keep_features=options.hidden_states == "kept",
    )
    before = ShardSet.open(folder).token_count
    began = time.monotonic()
    try:
        with ProgressLine("generate", options.tokens, start=before) as progress:
            generate(job, target, options.tokens, progress.update)
    finally:
        clock = folder.parent / "generation_s"
        clock.write_text(str(_generation_seconds(folder.parent) + time.monotonic() - began), encoding="utf-8")
    shards = ShardSet.open(folder)
    if options.hidden_states == "kept" and any(shard.features is None for shard in shards.shards):
        with ProgressLine("hidden states", shards.token_count) as progress:
            keep_features(shards, target, progress.update)
        shards = ShardSet.open(folder)
    return shards


def _generation_seconds(work_dir: Path) -> float:
    clock = work_dir / "generation_s"
    return float(clock.read_text(encoding="utf-8")) if clock.exists() else 0.0


def _train(
    options: TrainOptions,
    data: TrainingData,
    numbers: list[int],
    statistics: DataStatistics,
    state_path: Path,
) -> Trainer:
    target = data.target
    torch.manual_seed(options.seed)
    config = EagleConfig.for_target(
        target.config, target_name=target.name, tokenizer_fingerprint=target.tokenizer_fingerprint
    )
    head = EagleHead(config).to(target.device)
    _match_scale(head, target)
    trainer = Trainer(
        head=head,
        data=data,
        numbers=numbers,
        frequent=statistics.frequent(options.frequent_tokens),
        feature_scale=statistics.feature_scale,
        recipe=Recipe(
            epochs=options.epochs,
            batch_tokens=options.batch_tokens,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
            unroll_steps=options.unroll_steps,
            unroll_share=options.unroll_share,
            random_tokens=options.random_tokens,
            noise=options.noise,
            seed=options.seed,
            autocast=target.dtype == torch.bfloat16,
        ),
        state_path=state_path,
    )
    total = trainer.total_tokens
    with ProgressLine("train", total, start=trainer.tokens_done) as progress:
        trainer.run(lambda loss: progress.update(trainer.tokens_done, f"loss {loss:.3f}"))
    return trainer


def _match_scale(head: EagleHead, target: Target) -> None:
    """Starts the output norm at the scale of the target's features, where they come from a norm."""
    norm = getattr(target.decoder, "norm", None)
    weight = getattr(norm, "weight", None)
    if weight is not None and weight.shape == head.norm.weight.shape:
        with torch.no_grad():
            # Gemma's norms multiply by 1 + weight.
            offset = 1.0 if "Gemma" in type(norm).__name__ else 0.0
            head.norm.weight.copy_(weight.float() + offset)


def _save_frequencies(statistics: DataStatistics, target: Target, path: Path) -> None:
    """Writes how often the target wrote each id, the most frequent first."""
    token_ids = statistics.counts.argsort(descending=True, stable=True)[: int((statistics.counts > 0).sum())]
    save_file(
        {"token_ids": token_ids.to(torch.int32), "counts": statistics.counts[token_ids]},
        path,
        metadata={
            "tokenizer_fingerprint": target.tokenizer_fingerprint,
            "source": f"{statistics.written_tokens:,} tokens that {target.name} wrote itself",
        },
    )

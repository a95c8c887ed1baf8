"""The data of a training: generated as far as it is missing, with hidden states where they are to be kept."""

from __future__ import annotations

import os
import time
from pathlib import Path

from specframe.config import RunConfig
from specframe.contracts.records import write_whole
from specframe.model.loading import load_pretrained
from specframe.model.target import Target
from specframe.ops.notes import note
from specframe.ops.progress_line import ProgressLine
from specframe.registry.components import TrainRequest
from specframe.registry.placement import find_device, find_dtype, name_of, resolve_placement
from specframe.request.tasks import read_tasks
from specframe_plugins.training.features import keep_features
from specframe_plugins.training.options import TrainOptions
from specframe_plugins.training.shards import ShardSet
from specframe_plugins.training.workers import GenerationJob, generate

_CLOCK = "generation_s"


def load_target(request: TrainRequest) -> Target:
    """Loads the target in the dtype and on the device of the options."""
    options: TrainOptions = request.options
    asked = RunConfig(model=request.model, dtype=options.dtype, device=options.device)
    placed = resolve_placement(asked)
    return Target(load_pretrained(request.model, find_dtype(placed.dtype), find_device(placed.device)))


def top_up(request: TrainRequest, target: Target, folder: Path, layers: tuple[int, ...] = ()) -> ShardSet:
    """Generates until a folder holds as many tokens as the options say, then opens it.

    Args:
        request: the options, `TrainOptions`.
        target: the loaded target.
        folder: of the data.
        layers: whose inputs a head will read.

    Raises:
        UsageError: the folder holds data of another target.
        SpecframeError: a worker died.
    """
    options: TrainOptions = request.options
    own = read_tasks(options.requests).tasks if options.requests else []
    job = GenerationJob(
        model=request.model,
        dtype=name_of(target.dtype),
        device=str(target.device),
        folder=folder,
        seed=options.seed,
        rows=options.rows,
        workers=options.workers or ((os.cpu_count() or 1) if target.device.type == "cpu" else 1),
        max_request=options.max_request,
        max_answer=options.max_answer,
        max_length=min(options.max_length, target.max_positions),
        requests=tuple(task.prompt for task in own),
        keep_features=options.hidden_states == "kept",
    )
    before = ShardSet.open(folder).token_count
    began = time.monotonic()
    try:
        with ProgressLine("generate", options.tokens, before, "tokens") as progress:
            generate(job, target, options.tokens, progress.update)
    except KeyboardInterrupt:
        made = ShardSet.open(folder).token_count
        note(f"interrupted after {made:,} of {options.tokens:,} tokens; the same command goes on from there")
        raise
    finally:
        if before < options.tokens and folder.is_dir():
            spent = (generation_seconds(folder) or 0.0) + time.monotonic() - began
            write_whole(folder / _CLOCK, str(spent).encode())
    shards = ShardSet.open(folder, layers=layers)
    if job.keep_features and not all(shard.has_features(layers) for shard in shards.shards):
        with ProgressLine("hidden states", shards.token_count, unit="tokens") as progress:
            keep_features(shards, target, progress.update, layers)
        shards = ShardSet.open(folder, layers=layers)
    return shards


def generation_seconds(folder: Path) -> float | None:
    """How long the generation of a folder's data took, all runs together; None where it was not made here."""
    clock = folder / _CLOCK
    return float(clock.read_text(encoding="utf-8")) if clock.exists() else None

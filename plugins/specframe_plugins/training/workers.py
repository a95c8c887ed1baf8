"""Generation in one or several processes, resumable, with progress."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing as mp
import queue
import signal
from collections.abc import Callable, Generator, Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import torch
from attrs import frozen

from specframe.errors import SpecframeError
from specframe.model.loading import load_pretrained
from specframe.model.target import Target
from specframe_plugins.training.generation import BatchedGenerator
from specframe_plugins.training.origin import check_target, target_metadata, text_hash
from specframe_plugins.training.prompts import GENERATOR_VERSION, build_prompts
from specframe_plugins.training.shards import Sequence, ShardSet, ShardWriter


@frozen(kw_only=True)
class GenerationJob:
    """What to generate; picklable, the same for every worker.

    Attributes:
        model: the target: demo model name, hub id, directory, or file.
        dtype: name of the dtype to decode in.
        device: where to decode.
        folder: where the shards go.
        seed: determines every conversation.
        rows: conversations that one worker decodes at once.
        workers: number of processes.
        max_request: most tokens of a request.
        max_answer: most tokens of an answer.
        max_length: most tokens of a conversation.
        requests: of the user's own, to be answered in half of the conversations.
        keep_features: keep the hidden states beside the tokens.
        tokens_per_shard: size of a shard.
    """

    model: str
    dtype: str
    device: str
    folder: Path
    seed: int
    rows: int
    workers: int
    max_request: int
    max_answer: int
    max_length: int
    requests: tuple[str, ...] = ()
    keep_features: bool = False
    tokens_per_shard: int = 16384

    def metadata(self, target: Target) -> dict[str, str]:
        """What every shard says about where it comes from: the target, and whatever decides the text."""
        return {
            **target_metadata(target),
            "generator": GENERATOR_VERSION,
            "dtype": self.dtype,
            "seed": str(self.seed),
            "max_request": str(self.max_request),
            "max_answer": str(self.max_answer),
            "max_length": str(self.max_length),
            **({"requests": text_hash(self.requests)} if self.requests else {}),
        }


def pending(done: set[int], worker: int, workers: int) -> Iterator[int]:
    """Indices of the conversations that a worker still has to make, without end."""
    return (index for index in itertools.count(worker, workers) if index not in done)


def generate(job: GenerationJob, target: Target, tokens: int, report: Callable[[int], None]) -> None:
    """Generates until the folder holds `tokens` tokens; goes on where an earlier run stopped.

    Args:
        job: what to generate.
        target: the loaded target; further processes load their own.
        tokens: when to stop.
        report: called with the number of tokens so far.

    Raises:
        UsageError: the folder holds data of another target.
        SpecframeError: a worker died.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    shards = ShardSet.open(job.folder)
    check_target(shards, target_metadata(target))
    for leftover in job.folder.glob("*.partial*"):
        leftover.unlink()
    have, done = shards.token_count, set(shards.only(job.metadata(target)).indices)
    report(have)
    if have >= tokens:
        return
    if job.workers > 1:
        _generate_in_parallel(job, done, have, tokens, report)
        return
    with contextlib.closing(_written(job, target, 0, done)) as sequences:
        for sequence in sequences:
            have += len(sequence.tokens)
            report(have)
            if have >= tokens:
                return


def _written(
    job: GenerationJob, target: Target, worker: int, done: set[int]
) -> Generator[Sequence, None, None]:
    """Conversations of one worker, each on disk by the time it is yielded."""
    prompts = build_prompts(
        target.tokenizer, target.stop_ids, job.max_request, job.max_answer, job.max_length, job.requests
    )
    writer = ShardWriter(
        folder=job.folder,
        worker=worker,
        tokens_per_shard=job.tokens_per_shard,
        vocab_size=target.vocab_size,
        metadata=job.metadata(target),
        keep_features=job.keep_features,
    )
    try:
        generator = BatchedGenerator(target, prompts, job.rows, job.seed)
        for sequence in generator.run(pending(done, worker, job.workers)):
            writer.add(sequence)
            yield sequence
    finally:
        writer.close()


def _work(
    job: GenerationJob, worker: int, done: set[int], threads: int, news: Queue[int | str], stop: Event
) -> None:
    """The body of a worker process."""
    # An interrupt reaches the whole process group; the parent decides what follows from it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    parent = mp.parent_process()
    assert parent is not None
    try:
        target = Target(load_pretrained(job.model, getattr(torch, job.dtype), job.device))
        for sequence in _written(job, target, worker, done):
            news.put(len(sequence.tokens))
            # A parent that was killed can no longer say stop, nor read the news; it may have been killed
            # before this process had begun, so its process id here says nothing.
            if not parent.is_alive():
                news.cancel_join_thread()
                return
            if stop.is_set():
                return
    except Exception as error:
        news.put(f"{type(error).__name__}: {error}")
        raise


def _generate_in_parallel(
    job: GenerationJob, done: set[int], have: int, tokens: int, report: Callable[[int], None]
) -> None:
    context = mp.get_context("spawn")
    news: Queue[int | str] = context.Queue()
    stop = context.Event()
    threads = max(1, torch.get_num_threads() // job.workers)
    workers = [
        context.Process(target=_work, args=(job, number, done, threads, news, stop), daemon=True)
        for number in range(job.workers)
    ]
    for process in workers:
        process.start()
    try:
        while have < tokens:
            try:
                message = news.get(timeout=1)
            except queue.Empty:
                if any(process.exitcode is not None for process in workers):
                    raise SpecframeError(
                        "a generating process was killed; run the same command again"
                    ) from None
                continue
            if isinstance(message, str):
                raise SpecframeError(f"generation failed: {message.splitlines()[0]}")
            have += message
            report(have)
    finally:
        stop.set()
        # Each closes its open shard with the next conversation that finishes. Reading on keeps a worker from
        # waiting for room in the queue.
        while any(process.is_alive() for process in workers):
            try:
                news.get(timeout=0.2)
            except queue.Empty:
                continue

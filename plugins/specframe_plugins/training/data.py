"""`specframe train data`: what folders of token shards hold, one out of several, and more of the same."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

from specframe.errors import UsageError
from specframe.ops.progress_line import ProgressLine
from specframe.registry.components import TrainRequest
from specframe_plugins.training.corpus import load_target, top_up
from specframe_plugins.training.origin import check_target
from specframe_plugins.training.shards import (
    ANSWER,
    FORCED,
    Shard,
    ShardSet,
    ShardWriter,
    check_data_folder,
    features_path,
    origin,
    origin_name,
)

_TOKENS_PER_SHARD = 262_144
_COLUMNS = (
    *("folder", "target", "origin", "conversations", "tokens", "answers"),
    *("hidden states", "MB", "settings"),
)


class TokenData:
    """The data commands; see `specframe.registry.components.TrainingDataCommands`."""

    def describe(self, folders: Sequence[Path]) -> tuple[Sequence[str], list[Sequence[str]]]:
        """Returns column titles, and one row for each origin in each folder.

        Raises:
            UsageError: a folder has no data.
        """
        rows: list[Sequence[str]] = []
        for folder in folders:
            by_origin: dict[str, list[Shard]] = defaultdict(list)
            for shard in _opened(folder).shards:
                by_origin[origin_name(shard.metadata)].append(shard)
            rows += [_row(folder, name, found) for name, found in by_origin.items()]
        return _COLUMNS, rows

    def merge(self, out: Path, folders: Sequence[Path], share: float = 1.0) -> int:
        """Copies what `out` has not yet, or a share of it, in large shards; returns how many tokens it has.

        A shard is whole when it appears, and nothing is copied twice: after an interruption, the same command
        goes on.

        Raises:
            UsageError: a folder has no data, or data of another target.
        """
        check_data_folder(out)
        sources = [_opened(folder) for folder in folders]
        existing = ShardSet.open(out)
        for shards in (*sources, existing):
            check_target(shards, sources[0].shards[0].metadata)
        have = {(origin_name(shard.metadata), index) for shard in existing.shards for index in shard.indices}
        out.mkdir(parents=True, exist_ok=True)
        writers: dict[tuple[str, bool], ShardWriter] = {}
        done = 0
        with ProgressLine("merge", sum(shards.token_count for shards in sources), unit="tokens") as progress:
            for shard in (shard for shards in sources for shard in shards.shards):
                name, kept = origin_name(shard.metadata), shard.features is not None
                writer = writers.setdefault((name, kept), _writer(out, shard, kept))
                for sequence in shard:
                    if (name, sequence.index) not in have and _drawn(name, sequence.index) < share:
                        have.add((name, sequence.index))
                        writer.collect(sequence)
                done += len(shard.tokens)
                progress.update(done)
            for writer in writers.values():
                writer.close()
        return ShardSet.open(out).token_count

    def top_up(self, request: TrainRequest) -> int:
        """Generates until `request.out` holds as many tokens as the options say; returns how many it has.

        Raises:
            UsageError: the folder holds data of another target.
            SpecframeError: a worker died.
        """
        check_data_folder(request.out)
        return top_up(request, load_target(request), request.out).token_count


def _drawn(name: str, index: int) -> float:
    """A number in [0, 1) that stays with a conversation, so that a smaller share is part of a larger one."""
    return random.Random(f"{name}-{index}").random()


def _opened(folder: Path) -> ShardSet:
    shards = ShardSet.open(folder)
    if not len(shards):
        raise UsageError(f"{folder} has no training data; allowed: a folder with shard-*.safetensors")
    return shards


def _writer(out: Path, like: Shard, keep_features: bool) -> ShardWriter:
    return ShardWriter(
        folder=out,
        worker=0,
        tokens_per_shard=_TOKENS_PER_SHARD,
        # Only decides how wide a token is stored.
        vocab_size=2**16 if like.tokens.dtype == torch.uint16 else 2**31,
        metadata=like.metadata,
        keep_features=keep_features,
    )


def _row(folder: Path, name: str, shards: list[Shard]) -> Sequence[str]:
    tokens = sum(len(shard.tokens) for shard in shards)
    written = sum(int((shard.roles != FORCED).sum()) for shard in shards)
    answers = sum(int((shard.roles == ANSWER).sum()) for shard in shards)
    kept = sum(len(shard.tokens) for shard in shards if shard.features)
    paths = [path for shard in shards for path in (shard.path, features_path(shard.path)) if path.exists()]
    settings = {
        key: value for key, value in origin(shards[0].metadata).items() if not key.endswith("fingerprint")
    }
    return (
        str(folder),
        shards[0].metadata.get("target", ""),
        name,
        f"{sum(map(len, shards)):,}",
        f"{tokens:,}",
        f"{answers / max(written, 1):.0%}",
        f"{kept / max(tokens, 1):.0%}",
        f"{sum(path.stat().st_size for path in paths) / 1e6:.1f}",
        " ".join(f"{key}={value}" for key, value in sorted(settings.items())),
    )

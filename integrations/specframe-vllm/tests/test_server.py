"""The OpenAI server under load: the same greedy texts with drafts over active sets as without drafts."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from server import Load, serving
from tiny_checkpoints import VOCAB_SIZE

REQUESTS, TOKENS = 200, 16
# A KV cache that holds a few requests, so that others are preempted; prompts in chunks; prefixes kept.
CROWDED = (
    *("--max-num-seqs", "32", "--max-num-batched-tokens", "64", "--num-gpu-blocks-override", "40"),
    *("--block-size", "32", "--enable-prefix-caching"),
)


def prompts() -> list[list[int]]:
    """Return prompts of which many begin alike."""
    source = random.Random(7)
    openings = [[source.randrange(3, VOCAB_SIZE) for _ in range(48)] for _ in range(4)]
    return [
        source.choice(openings)[: source.randrange(0, 49)]
        + [source.randrange(3, VOCAB_SIZE) for _ in range(source.randrange(1, 24))]
        for _ in range(REQUESTS)
    ]


@pytest.fixture(scope="module")
def undrafted(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str | None]:
    log = tmp_path_factory.mktemp("undrafted") / "server.log"
    with serving(tiny, log, "--max-num-seqs", "32") as server:
        return Load(prompts(), TOKENS).run(server)


@pytest.mark.parametrize("sets", ["shared", "per_request"])
def test_texts_stay_the_same_through_aborts_preemptions_and_a_restart(
    tiny: Path, tmp_path: Path, undrafted: list[str | None], sets: str
) -> None:
    drafted = {"method": "draft_model", "model": str(tiny), "num_speculative_tokens": 3}
    settings = {"specframe": {"capacity": 256, "sets": sets}}
    arguments = (
        *CROWDED,
        *("--speculative-config", json.dumps(drafted), "--additional-config", json.dumps(settings)),
    )
    with serving(tiny, tmp_path / "first.log", *arguments) as server:
        found = Load(prompts(), TOKENS, abort_share=0.25).run(server)
        metrics = server.metrics()
    finished = [number for number, text in enumerate(found) if text is not None]
    assert 100 < len(finished) < REQUESTS
    assert [found[number] for number in finished] == [undrafted[number] for number in finished]
    assert metrics['specframe_active_tokens{engine="0"}'] > 0
    assert 0 < metrics['specframe_coverage{engine="0"}'] <= 1
    assert sum(value for name, value in metrics.items() if "num_preemptions" in name) > 0

    with serving(tiny, tmp_path / "second.log", *arguments) as server:
        assert Load(prompts()[:20], TOKENS).run(server) == undrafted[:20]

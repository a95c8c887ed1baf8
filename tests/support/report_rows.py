"""Rows of a benchmark drawn at random from stated rates, for what only reads rows."""

from __future__ import annotations

import attrs
import numpy as np
from bench_rows import row as bench_row

from specframe.bench.manifest import Manifest
from specframe.bench.rows import BenchRow, Losslessness, Steps

TASKS = (
    "conversation",
    "translation",
    "summarization",
    "question answering",
    "math reasoning",
    "retrieval-augmented",
    "code",
)
VOCAB_SIZE, HIDDEN_SIZE, DEPTH = 49_152, 576, 3


@attrs.frozen
class Profile:
    """How one configuration behaves, in seconds per target pass and shares.

    Attributes:
        label: of the configuration.
        head_s: drafter head.
        vocabulary_s: vocabulary and gather.
        active: K at the first and at the last step.
        oov: chance that a rejection is an OOV rejection.
        accept: chance that a drafted token is accepted.
        target_s: target pass.
        backbone_s: drafter backbone.
        tree_nodes: N.
        noise: of all times, standard deviation on the logarithmic scale.
    """

    label: str
    head_s: float = 0.0
    vocabulary_s: float = 0.0
    active: tuple[int, int] = (0, 0)
    oov: float = 0.0
    accept: float = 0.4
    target_s: float = 0.058
    backbone_s: float = 0.0055
    tree_nodes: int = 8
    noise: float = 0.04

    @property
    def strategy(self) -> str:
        """Name without options."""
        return self.label.partition(":")[0]


PROFILES = (
    Profile("autoregressive", target_s=0.048, accept=0.0),
    Profile("full", 0.0158, 0.0, (VOCAB_SIZE, VOCAB_SIZE)),
    Profile("static", 0.0109, 0.0, (32_768, 32_768), 0.04),
    Profile("static:size=8192", 0.0031, 0.0, (8192, 8192), 0.19, 0.397),
    Profile("nanospec", 0.0013, 0.0009, (180, 460), 0.14, 0.392),
    Profile("hf-greedy", target_s=0.047),
    Profile("hf-prompt-lookup", target_s=0.05),
)


def bench_rows(
    prompts: int = 6,
    *,
    profiles: tuple[Profile, ...] = PROFILES,
    tasks: tuple[str, ...] = TASKS,
    new_tokens: int = 64,
    seed: int = 0,
) -> list[BenchRow]:
    """Return rows of ``prompts`` prompts per task, configurations in turn."""
    rng = np.random.default_rng(seed)
    return [
        _row(f"{task}/{number}", task, profile, order, new_tokens, rng)
        for number in range(prompts)
        for task in tasks
        for order, profile in enumerate(profiles)
    ]


def manifest(**changes: object) -> Manifest:
    """Return the manifest of a run that was never made."""
    values: dict[str, object] = {
        "command": "specframe bench --strategies autoregressive,full,nanospec --json rows.jsonl",
        "date": "2026-01-02T03:04:05+00:00",
        "finished": True,
        "settings": {"model": "a-model", "max_new_tokens": 64},
        "versions": {"specframe": "0.1.0", "python": "3.11.2", "torch": "2.13.0", "triton": None},
        "machine": {
            "cpu": "a processor",
            "cores": 2,
            "threads": 2,
            "memory_bytes": 24 << 30,
            "accelerator": None,
        },
        "target": {
            "vocab_size": VOCAB_SIZE,
            "hidden_size": HIDDEN_SIZE,
            "layers": 30,
            "parameters": 134_515_008,
        },
    }
    return Manifest(**{**values, **changes})  # type: ignore[arg-type]


def _row(
    id: str, task: str, profile: Profile, order: int, new_tokens: int, rng: np.random.Generator
) -> BenchRow:
    peer, drafts = profile.label.startswith("hf-"), profile.active[1] > 0
    steps = None if peer else _steps(profile, new_tokens, rng)
    passes = len(steps.emitted) if steps else new_tokens - 1
    noise = float(rng.lognormal(0.0, profile.noise))
    scale = (passes if steps else new_tokens) * noise
    draft = (
        (profile.head_s + profile.vocabulary_s + profile.backbone_s + 0.0016) * scale
        if drafts
        else 4e-4 * scale
    )
    verify, prefill = profile.target_s * scale, 0.12 * noise
    emitted = sum(steps.emitted) if steps else 0
    head_bytes = VOCAB_SIZE * HIDDEN_SIZE * 2
    return bench_row(
        id=id,
        task=task,
        category=task,
        configuration=profile.label,
        order=order,
        strategy=profile.strategy,
        drafter="eagle" if drafts else None,
        verifier=None if peer else "greedy",
        gather="torch" if drafts else None,
        model="a-model",
        prompt_tokens=90,
        token_ids=[1] * new_tokens,
        text="",
        finish_reason="length",
        new_tokens=new_tokens,
        target_passes=passes,
        tau=emitted / passes if steps else 1.0,
        wall_s=draft + verify + prefill,
        prefill_s=None if peer else prefill,
        draft_s=None if peer else draft,
        draft_backbone_s=None if peer else profile.backbone_s * scale * drafts,
        draft_head_s=None if peer else profile.head_s * scale,
        draft_tree_s=None if peer else 0.0007 * scale * drafts,
        vocabulary_s=None if peer else profile.vocabulary_s * scale,
        verify_s=None if peer else verify,
        active_mean=sum(steps.active_size) / len(steps.active_size) if steps else None,
        active_max=max(steps.active_size) if steps else None,
        coverage=sum(steps.covered) / emitted if steps else None,
        oov_rejections=steps.rejection.count("oov") if steps else None,
        drafter_misses=steps.rejection.count("drafter_miss") if steps else None,
        accept_by_depth=_accept_by_depth(steps, DEPTH if drafts else 0) if steps else None,
        peak_rss_bytes=(900 + order) << 20,
        packed_bytes=None if peer else profile.active[1] * HIDDEN_SIZE * 2,
        store_bytes=None if peer else VOCAB_SIZE * 4 * drafts,
        head_bytes=None if peer else head_bytes,
        steps=steps,
        lossless=Losslessness(
            equal=None if profile.label == "autoregressive" else bool(rng.random() > 0.4),
            divergence=None,
            margin=None,
            baseline_margin=None,
            largest_margin=0.125,
            not_maximum=1,
            tolerance=0.5,
            passed=True,
        ),
    )


def _steps(profile: Profile, new_tokens: int, rng: np.random.Generator) -> Steps:
    steps = Steps(
        active_size=[], tree_nodes=[], emitted=[], accepted=[], covered=[], rejection=[], rows_fetched=[]
    )
    drafts = profile.active[1] > 0
    left = new_tokens - 1
    while left > 0:
        depth = DEPTH if drafts else 0
        accepted = next((d for d in range(depth) if rng.random() > profile.accept), depth)
        rejected = accepted < depth
        kind = ("oov" if rng.random() < profile.oov else "drafter_miss") if rejected else None
        emitted = min(accepted + 1, left)
        done = 1 - left / new_tokens
        grown = round(profile.active[0] + (profile.active[1] - profile.active[0]) * done**0.5)
        steps.active_size.append(grown)
        steps.tree_nodes.append(profile.tree_nodes if drafts else 1)
        steps.emitted.append(emitted)
        steps.accepted.append(min(accepted, emitted))
        steps.covered.append((emitted - (kind == "oov" and emitted > accepted)) if drafts else 0)
        steps.rejection.append(kind)
        steps.rows_fetched.append(3 if 0 < profile.active[0] < profile.active[1] else 0)
        left -= emitted
    return steps


def _accept_by_depth(steps: Steps, depth: int) -> list[float]:
    return [sum(a >= d for a in steps.accepted) / len(steps.accepted) for d in range(1, depth + 1)]

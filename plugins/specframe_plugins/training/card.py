"""The model card: how a head was made, and how well it drafts."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import attrs

from specframe.contracts.records import write_whole
from specframe_plugins.training.decoding import SHAPES, Drafting
from specframe_plugins.training.heldout import ChainAcceptance
from specframe_plugins.training.trainer import Evaluation
from specframe_plugins.training.validation import CHAIN_LENGTH, NEW_TOKENS


@attrs.frozen(kw_only=True)
class TrainingRecord:
    """What a training was and what came of it.

    Attributes:
        drafter: what drafts with the head.
        target: as the user named it.
        command: the command line.
        conversations: trained on.
        held_out_conversations: not trained on.
        tokens: of all conversations, template included.
        written_tokens: of the training part, only what the target wrote.
        parameters: of the head.
        induction_groups: how many of its key and value heads are induction heads.
        epochs: passes over the data.
        steps: batches.
        generation_s: wall time of the generation, all runs together; None for data that came from elsewhere.
        training_s: wall time of the training, all runs together.
        teacher_forced: acceptance of greedy chains at every position of held-out answers.
        real_prompts: the same on the target's answers to held-out prompts that it did not write itself.
        evaluations: tau on those prompts, on the way.
        drafting: what decoding gave.
    """

    drafter: str
    target: str
    command: str
    conversations: int
    held_out_conversations: int
    tokens: int
    written_tokens: int
    parameters: int
    induction_groups: int
    epochs: int
    steps: int
    generation_s: float | None
    training_s: float
    teacher_forced: ChainAcceptance
    real_prompts: ChainAcceptance
    evaluations: tuple[Evaluation, ...]
    drafting: tuple[Drafting, ...]


def write_card(record: TrainingRecord, folder: Path) -> None:
    """Writes `README.md` for people and `training.json` for programs."""
    write_whole(folder / "training.json", (json.dumps(attrs.asdict(record), indent=2) + "\n").encode())
    write_whole(folder / "README.md", _card(record).encode())


def summary(record: TrainingRecord) -> str:
    """The held-out report as lines of text."""
    lines = [
        f"{name}, every position of the answers a start ({forced.starts:,}): "
        f"acceptance by depth {_shares(forced.by_depth)}; tau of a chain of {CHAIN_LENGTH}: "
        f"{forced.tau(CHAIN_LENGTH):.2f}"
        for name, forced in (
            ("held-out conversations", record.teacher_forced),
            ("held-out prompts", record.real_prompts),
        )
    ]
    lines += [
        f"{row.shape}, {row.task}: tau {row.tau:.2f}, acceptance by depth {_shares(row.accept_by_depth)}, "
        f"{row.target_passes:,} target passes"
        for row in record.drafting
    ]
    return "\n".join(lines)


def _card(record: TrainingRecord) -> str:
    rows = "\n".join(
        f"| {row.shape} | {row.task} | {row.tau:.2f} | {_shares(row.accept_by_depth)} "
        f"| {row.target_passes:,} |"
        for row in record.drafting
    )
    forced, real = record.teacher_forced, record.real_prompts
    return f"""# Head of the drafter `{record.drafter}` for {record.target}

One decoder layer with {record.parameters:,} parameters that drafts for {record.target} in specframe.
What it has no weights for is the target's. Weights are bfloat16. Key and value heads that are induction
heads: {record.induction_groups}.

## How it was made

```
{record.command}
```

| | |
|---|---|
| data | {record.conversations:,} conversations; the target wrote requests and answers |
| tokens | {record.tokens:,} with templates; {record.written_tokens:,} written by the target and trained on |
| training | {record.epochs} epochs, {record.steps:,} steps |
| time | {_times(record)} |

`token_frequencies.safetensors` counts the ids of the same text; the strategy `static` uses it.

## How well it drafts

{record.held_out_conversations:,} conversations were held out, and the target answered prompts that it did
not write itself. With every position of the answers as the start of a greedy chain, over the full vocabulary:

| answers | starts | acceptance by depth | tau, chain of {CHAIN_LENGTH} |
|---|---|---|---|
| held-out conversations | {forced.starts:,} | {_shares(forced.by_depth)} | {forced.tau(CHAIN_LENGTH):.2f} |
| held-out prompts | {real.starts:,} | {_shares(real.by_depth)} | {real.tau(CHAIN_LENGTH):.2f} |

Decoded in the engine, greedy, strategy `full`, {NEW_TOKENS} new tokens:

| shape | prompts | tau | acceptance by depth | target passes |
|---|---|---|---|---|
{rows}

What it drafts for the built-in prompts on your machine:

```
{_bench(record)}
```

## Limits

The head learnt the target's own text, mistakes included: it drafts worse where prompts leave the kinds of
text that the data covers, and where they are longer than its conversations. A head never changes what the
target emits, only how many target passes that takes.
"""


def _bench(record: TrainingRecord) -> str:
    """The command that measures tau again; HEAD is where the head is."""
    lines = [
        f"specframe bench --model {shlex.quote(record.target)} --drafter {record.drafter}",
        f"-o drafter.checkpoint=HEAD --limit-per-task 2 --max-new-tokens {NEW_TOKENS}",
    ]
    for options in SHAPES.values():
        chosen = ",".join(f"drafter.{name}={value}" for name, value in options.items())
        lines.append(f"-s full:{chosen}")
    return " \\\n  ".join(lines)


def _times(record: TrainingRecord) -> str:
    training = f"training {record.training_s / 60:.0f} min"
    if record.generation_s is None:
        return f"{training}; the data came from elsewhere"
    return f"generation {record.generation_s / 60:.0f} min, {training}"


def _shares(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.2f}" for value in values)

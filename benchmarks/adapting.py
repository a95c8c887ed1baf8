"""What a head could learn from a stream of answers: its first choices, right or not, by way of learning.

specframe bench --tasks TASKS.jsonl --strategies autoregressive --json rows.jsonl
python benchmarks/adapting.py rows.jsonl --tasks TASKS.jsonl

Every position of every answer is a start, with the target's own features before it, in order. Only tokens
that the target or the head finds likely somewhere are told apart. Intervals are over prompts.
"""

from __future__ import annotations

import argparse
import copy
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from specframe.bench.rows import read_rows
from specframe.model.loading import load_pretrained
from specframe.model.target import Target
from specframe.registry.manager import create_plugin_manager, shipped_data
from specframe.request.prompts import encode_prompt
from specframe.request.tasks import read_tasks
from specframe_plugins.drafters.eagle.adaptation import Adaptation
from specframe_plugins.drafters.eagle.checkpoint import load_chosen
from specframe_plugins.drafters.eagle.model import EagleHead

# Positions between two updates.
_CHUNK = 8


@attrs.define
class Answer:
    """One answer of n tokens.

    Attributes:
        embeddings: of all tokens but the first [T - 1, H].
        features: at all positions [T, F].
        start: of the answer.
        token_ids: of the answer, as rows of what is told apart [n].
    """

    embeddings: Tensor
    features: Tensor
    start: int
    token_ids: Tensor

    def predicted(self, head: EagleHead) -> Tensor:
        """Return the features that a head predicts, from which the answer's tokens follow [n, H]."""
        positions = torch.arange(len(self.embeddings))[None]
        found = head.predict(self.embeddings[None], self.features[None, :-1], positions)[0][0]
        return found[self.start - 2 : -1]

    @property
    def true(self) -> Tensor:
        """What they should be [n, H]."""
        return self.features[self.start - 1 : -1]


def main() -> None:
    """Print a line for each way of learning."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", type=Path, help="what `specframe bench --json` wrote")
    parser.add_argument("--tasks", type=Path, required=True, help="the prompts that it was given")
    arguments = parser.parse_args()
    answers, head, weight = _read(arguments.rows, arguments.tasks)
    frozen = _stream(answers, head, weight, lambda predicted: predicted, lambda *_: None)
    print(
        f"{len(answers)} answers, {sum(n for _, n in frozen):,} positions, {len(weight):,} tokens told apart"
    )
    _say("frozen", frozen, frozen)
    size = weight.shape[1]

    def memory() -> Adaptation:
        return Adaptation(size, torch.device("cpu"), torch.float32)

    forgets: list[tuple[int, int]] = []
    for answer in answers:
        forgets += _stream([answer], head, weight, (one := memory()).corrected, _keep_in(one))
    _say("what predictions lacked, this request alone", forgets, frozen)
    _say(
        "what predictions lacked",
        _stream(answers, head, weight, (one := memory()).corrected, _keep_in(one)),
        frozen,
    )
    for rate in (1e-5, 3e-5, 1e-4):
        matrix = torch.zeros(size, size)
        corrected = _stream(answers, head, weight, _by(matrix), _descend(matrix, weight, rate))
        _say(f"a matrix by gradient, rate {rate:g}", corrected, frozen)
    _say("the whole head trained after every answer", _trained(answers, head, weight), frozen)


@torch.no_grad()
def _read(rows: Path, tasks: Path) -> tuple[list[Answer], EagleHead, Tensor]:
    """Return the answers, the head that ships for their target, and the LM-head rows that are told apart."""
    prompts = {task.id: task.prompt for task in read_tasks(tasks).tasks}
    reports = [row.report for row in read_rows(rows)]
    target = Target(load_pretrained(reports[0].model, torch.float32))
    head, _ = load_chosen(None, target, shipped_data(create_plugin_manager()))
    whole = target.output_head.weight
    answers, likely = [], []
    for report in reports:
        prompt = encode_prompt(target.tokenizer, prompts[report.id]).tolist()
        ids = torch.tensor([*prompt, *report.token_ids])
        target.begin(len(ids))
        features = target.prefill(ids, harvest_topk=1, harvest_window=1).features.clone()
        answer = Answer(target.embed_tokens(ids[1:]), features, len(prompt), ids[len(prompt) :])
        answers.append(answer)
        likely += [
            ids,
            *((part @ whole.T).topk(16).indices.flatten() for part in answer.predicted(head).split(64)),
        ]
    apart = torch.cat(likely).unique()
    for answer in answers:
        answer.token_ids = torch.searchsorted(apart, answer.token_ids)
    return answers, head, whole[apart]


@torch.no_grad()
def _stream(
    answers: Sequence[Answer],
    head: EagleHead,
    weight: Tensor,
    correct: Callable[[Tensor], Tensor],
    learn: Callable[[Tensor, Tensor, Tensor], None],
) -> list[tuple[int, int]]:
    """Return how many first choices were right of how many, for each answer, and learn after every chunk."""
    right = []
    for answer in answers:
        hits = 0
        parts = zip(
            *(one.split(_CHUNK) for one in (answer.predicted(head), answer.true, answer.token_ids)),
            strict=True,
        )
        for predicted, true, token_ids in parts:
            hits += int(((correct(predicted) @ weight.T).argmax(-1) == token_ids).sum())
            learn(predicted, true, token_ids)
        right.append((hits, len(answer.token_ids)))
    return right


def _keep_in(one: Adaptation) -> Callable[[Tensor, Tensor, Tensor], None]:
    def learn(predicted: Tensor, true: Tensor, token_ids: Tensor) -> None:
        for prediction, feature in zip(predicted, true, strict=True):
            one.learn(prediction, feature)

    return learn


def _by(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda predicted: predicted + predicted @ matrix


def _descend(matrix: Tensor, weight: Tensor, rate: float) -> Callable[[Tensor, Tensor, Tensor], None]:
    """Return a step along the gradient of the cross-entropy."""

    def learn(predicted: Tensor, true: Tensor, token_ids: Tensor) -> None:
        wrong = (_by(matrix)(predicted) @ weight.T).softmax(-1)
        wrong[torch.arange(len(token_ids)), token_ids] -= 1
        matrix.sub_(rate * predicted.T @ (wrong @ weight))

    return learn


def _trained(answers: Sequence[Answer], head: EagleHead, weight: Tensor) -> list[tuple[int, int]]:
    """Return the hits of a head that does two Adam steps after every answer, on it and three earlier ones."""
    head = copy.deepcopy(head).requires_grad_()
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-4, betas=(0.9, 0.99))
    order, right = random.Random(0), []
    for at, answer in enumerate(answers):
        right += _stream([answer], head, weight, lambda predicted: predicted, lambda *_: None)
        for _ in range(2):
            optimizer.zero_grad()
            for one in (answer, *order.choices(answers[: at + 1], k=3)):
                (F.cross_entropy(one.predicted(head) @ weight.T, one.token_ids) / 4).backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
    return right


def _say(name: str, right: Sequence[tuple[int, int]], frozen: Sequence[tuple[int, int]]) -> None:
    hits, of = torch.tensor(right).T.float()
    gained = hits - torch.tensor(frozen)[:, 0]
    drawn = torch.randint(len(of), (2000, len(of)), generator=torch.Generator().manual_seed(0))
    spread = gained[drawn].sum(1) / of[drawn].sum(1)
    low, high = spread.quantile(torch.tensor([0.025, 0.975])).tolist()
    last = -(len(of) // 3)
    print(
        f"{name:44} {hits.sum() / of.sum():.3f}  {gained.sum() / of.sum():+.3f} [{low:+.3f}, {high:+.3f}]"
        f"  last third {gained[last:].sum() / of[last:].sum():+.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()

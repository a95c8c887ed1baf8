"""Whether exact screens find what the full products do, and what they read and take.

python benchmarks/exact_screen.py --model gemma3-270m

Built-in prompts are decoded with strategy `full` and trees of a fixed size; `exact-screen` drafts beside it
from the same roots.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch
from torch import Generator, Tensor

from specframe.config import RunConfig
from specframe.contracts.clock import PhaseClock
from specframe.contracts.protocols import lm_head_of
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.assembly import build_engine
from specframe.engine.drafting.active import ActiveDrafting
from specframe.model.target import Prefill, Target
from specframe.model.target_head import ScreenedTargetHead
from specframe.ops.row_maxima import row_max
from specframe.request.request import Request
from specframe.request.tasks import built_in_tasks
from specframe_plugins.gathers.torch import TorchGather

_REPEAT = 15


class Beside:
    """Drafts with one of two, and compares what both draft.

    Args:
        full: its drafts are verified.
        screened: drafts from the same roots, until a tree differs.
        most: trees to compare.
    """

    def __init__(self, full: ActiveDrafting, screened: ActiveDrafting, most: int) -> None:
        self._full, self._screened, self._most = full, screened, most
        self.drafter, self.demands, self.figures = full.drafter, full.demands, full.figures
        self.trees = self.different = 0
        self._apart = False

    def reusable(self, shared: int, prompt_tokens: int) -> int:
        """Return 0: every prompt is read from its start."""
        return 0

    def start(
        self, prompt_ids: Tensor, prefill: Prefill, generator: Generator, clock: PhaseClock, kept: int = 0
    ) -> None:
        """Let both read the prompt."""
        self._apart = False
        for drafting in (self._screened, self._full):
            drafting.start(prompt_ids, prefill, generator, clock)

    def draft(self, root: int, features: Tensor, clock: PhaseClock) -> DraftTree:
        """Return the tree of `full`."""
        tree = self._full.draft(root, features, clock)
        if not self._apart and self.trees < self._most:
            other = self._screened.draft(root, features, clock)
            same = torch.equal(tree.token_ids, other.token_ids) and torch.equal(tree.parents, other.parents)
            self.trees += 1
            self.different += not same
            self._apart = not same
        return tree

    def learn(self, verdict: Verdict, tree: DraftTree, top: TopTokens | None, clock: PhaseClock) -> None:
        """Tell both what became of the tree."""
        self._full.learn(verdict, tree, top, clock)
        if not self._apart:
            self._screened.learn(verdict, tree, top, clock)

    def listen(self, note: Callable[[Tensor], None]) -> None:
        """Have the hidden states of `full` noted."""
        self._full.listen(note)

    def forget(self) -> None:
        """Let both forget."""
        self._full.forget()
        self._screened.forget()

    def finish(self) -> None:
        """Let both end the request."""
        self._full.finish()
        self._screened.finish()


@torch.inference_mode()
def main() -> None:
    """Print the table of one model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--states", type=int, default=1000, help="and as many trees")
    parser.add_argument("--new-tokens", type=int, default=64, help="of each prompt")
    given = parser.parse_args()
    config = RunConfig(model=given.model, dtype=given.dtype, strategy="full", gather="torch", costs="off")
    engine = build_engine(config)
    target = engine.target
    other = build_engine(
        RunConfig(model=given.model, dtype=given.dtype, strategy="exact-screen", gather="torch", costs="off"),
        target=target,
    )
    full, screened = engine.drafting, other.drafting
    assert isinstance(full, ActiveDrafting)
    assert isinstance(screened, ActiveDrafting)
    beside = Beside(full, screened, given.states)
    engine.drafting = beside
    drafted, verified = _listen_to(full), _listen_to_target(target)
    for task in built_in_tasks():
        if beside.trees >= given.states:
            break
        engine.generate(Request(task.turns[0], id=task.id), given.new_tokens)
    print(f"{target.name} in {given.dtype}, {target.vocab_size:,} rows of {target.hidden_size}")
    print(f"drafts of full      identical trees: {beside.trees - beside.different} of {beside.trees}")
    _drafter_table(full, screened, _some(drafted, given.states))
    _target_table(target, _some(verified, given.states))


def _listen_to(drafting: ActiveDrafting) -> list[Tensor]:
    """Return a list that grows by the hidden states that a drafter's head is asked about."""
    head: Any = drafting._vocabulary.head
    topk, states = head.topk, []

    def listening(hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        states.append(hidden.clone())
        found: tuple[Tensor, Tensor] = topk(hidden, k)
        return found

    head.topk = listening
    return states


def _listen_to_target(target: Target) -> list[Tensor]:
    """Return a list that grows by the hidden states that the target's head is asked about."""
    forward: Any = target.forward
    run, states = forward.run, []

    def listening(ids: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
        hidden, features = run(ids, *arguments)
        states.append(hidden[:8].clone())
        return hidden, features

    forward.run = listening
    return states


def _some(states: list[Tensor], count: int) -> Tensor:
    """Return so many states, evenly taken from all [n, H]."""
    all_states = torch.cat(states)
    return all_states[torch.linspace(0, len(all_states) - 1, min(count, len(all_states))).long()]


def _drafter_table(full: ActiveDrafting, screened: ActiveDrafting, states: Tensor) -> None:
    head, k = lm_head_of(full.drafter), full.drafter.branching
    everything, backend = TorchGather(), screened._vocabulary.head
    everything.bind(head, None)
    screen: Any = screened.strategy.screen
    ids = order = 0
    off: list[float] = []
    survivors: list[int] = []
    screen.doubted = 0
    for part in states.split(k):
        expected, there = everything.topk(part, k)
        log_probs, found = backend.topk(part, k)
        ids += int((there.sort(dim=1).values == found.sort(dim=1).values).all(dim=1).sum())
        order += int((there == found).all(dim=1).sum())
        off += (log_probs - expected).abs().amax(dim=1).tolist()
    doubted = screen.doubted
    for part in states.split(k):
        least = head.logits(part).float().topk(k, dim=1).values[:, -1:]
        highest = screen._rows.at_most(screen._rows.estimate(part))
        survivors += (head.finish(highest) >= least).sum(dim=1).tolist()
    print(f"                    identical best {k}: {ids} of {len(states)}, in the same order {order}")
    print(f"                    log-probabilities off by {_spread(off, '.4f')}")
    print(f"                    rows that cannot be excluded: {_spread(survivors, '.0f')}")
    print(f"                    states given the full product: {doubted} of {len(states)}")
    held = sum(tensor.nbytes for tensor in screen.held())
    exact = screen.width * head.hidden_size * head.weight.element_size()
    whole = head.weight.nbytes
    print(
        f"                    bytes read for a state: {(held + exact) / 1e6:.1f} MB of {whole / 1e6:.1f} "
        f"({(held + exact) / whole:.0%})"
    )
    for rows in (1, k):
        part = states[:rows]
        a, b = _compared(lambda part=part: everything.topk(part, k), lambda part=part: backend.topk(part, k))  # type: ignore[misc]  # bound now
        print(f"                    {rows} states: full {a:.1f} ms, exact-screen {b:.1f} ms")


def _target_table(target: Target, states: Tensor) -> None:
    head, screen = target.output_head, ScreenedTargetHead(target.output_head)
    same = asked = passes = 0
    for part in states.split(4):
        choices = screen.look(part)
        same += int((choices.best()[1] == row_max(head.logits(part))[1]).sum())
        asked += "logits" in vars(choices)
        passes += 1
    print(f"the target's head   identical first choices: {same} of {len(states)}")
    print(f"                    passes of 4 nodes given the full product: {asked} of {passes}")
    for rows in (1, 4, 8):
        part = states[:rows]
        a, b = _compared(
            lambda part=part: row_max(head.logits(part)),  # type: ignore[misc]  # bound now
            lambda part=part: screen.look(part).best(),  # type: ignore[misc]  # bound now
        )
        print(f"                    {rows} nodes: full {a:.1f} ms, exact-screen {b:.1f} ms")


def _spread(values: list[float] | list[int], form: str) -> str:
    """Return median, 99th percentile and largest of some numbers."""
    numbers = torch.tensor(values, dtype=torch.float64)
    median, high = numbers.quantile(torch.tensor([0.5, 0.99], dtype=torch.float64)).tolist()
    return f"median {median:{form}}, 99 % {high:{form}}, most {max(values):{form}}"


def _compared(one: Callable[[], object], other: Callable[[], object]) -> tuple[float, float]:
    """Return the median times of two calls that come in turn, ms."""
    times: tuple[list[float], list[float]] = ([], [])
    for run in range(_REPEAT + 2):
        for call, taken in zip((one, other), times, strict=True):
            began = perf_counter()
            call()
            if run >= 2:
                taken.append(1e3 * (perf_counter() - began))
    return statistics.median(times[0]), statistics.median(times[1])


if __name__ == "__main__":
    main()

"""Whether drafting while the target verifies can pay on this machine (PEARL, arXiv 2408.11850).

PEARL drafts on during a target pass (post-verify) and verifies the first token during the draft (pre-verify).
Both hide the draft behind the pass, and both give a part of the machine away while they do. So the most that
there is to win, with every draft right and nothing thrown away, is a step of pass and draft in turn on all
threads against a pass on the threads that are left while another thread drafts:

    python benchmarks/parallel_drafting.py --model smollm2-135m --threads 2
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from threading import Event
from time import perf_counter

import torch

from specframe.config import RunConfig
from specframe.contracts.clock import PhaseClock
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.assembly import build_engine
from specframe.engine.engine import Engine
from specframe.ops.tables import print_table

_CONTEXT = 200
_NODES = (1, 4, 8)


class Parts:
    """The two parts of a step of an engine, each with all it needs to run by itself.

    Args:
        engine: of a drafter with a head, without measured costs.
    """

    def __init__(self, engine: Engine) -> None:
        self._target, self._drafting = engine.target, engine.drafting
        ids = torch.arange(_CONTEXT) * 37 % self._target.vocab_size
        demands = self._drafting.demands
        self._target.begin(_CONTEXT + 64, feature_layers=demands.feature_layers)
        prefill = self._target.prefill(
            ids, harvest_topk=demands.harvest_topk, harvest_window=demands.prompt_window
        )
        self._clock = PhaseClock()
        self._clock.start()
        self._drafting.start(ids, prefill, torch.Generator(), self._clock)
        self._features = prefill.features[-1:]

    def verify(self, nodes: int) -> None:
        """Run one target pass over a chain of nodes, and keep nothing."""
        index = torch.arange(nodes)
        self._target.tree_pass(DraftTree(index + 7, index - 1, index, torch.zeros(nodes)))
        self._target.commit(())

    def draft(self) -> None:
        """Draft one tree in vain."""
        tree = self._drafting.draft(11, self._features, self._clock)
        verdict = Verdict((0,), (), 13, path_ends_at_leaf=len(tree) == 1)
        drafter = self._drafting.drafter
        assert drafter is not None
        drafter.commit(verdict)


def seconds(call: Callable[[], None], threads: int, runs: int) -> float:
    """Return the median seconds of a call on so many threads, the first three left out."""
    torch.set_num_threads(threads)
    spent = []
    for _ in range(runs + 3):
        began = perf_counter()
        call()
        spent.append(perf_counter() - began)
    return median(spent[3:])


def beside(call: Callable[[], None], threads: int, other: Callable[[], None], runs: int) -> float:
    """Return the median seconds of a call on some threads, while one more runs another all the time."""
    over, begun = Event(), Event()

    @torch.inference_mode()
    def keep_on() -> None:
        torch.set_num_threads(1)  # of this thread alone
        while not over.is_set():
            other()
            begun.set()

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(keep_on)
        begun.wait()
        try:
            return seconds(call, threads, runs)
        finally:
            over.set()
            working.result()


@torch.inference_mode()
def main() -> None:
    """Print a row for each size of the tree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=30)
    given = parser.parse_args()
    if given.threads < 2:
        parser.error("--threads is for two parts side by side; allowed: 2 or more")
    config = RunConfig(
        model=given.model, dtype=given.dtype, costs="off", options={"drafter": {"lookup": 0, "depth": 3}}
    )
    parts = Parts(build_engine(config))
    rows = []
    for nodes in _NODES:

        def verify(nodes: int = nodes) -> None:
            parts.verify(nodes)

        verified = seconds(verify, given.threads, given.runs)
        drafted = seconds(parts.draft, given.threads, given.runs)
        left = seconds(verify, given.threads - 1, given.runs)
        together = beside(verify, given.threads - 1, parts.draft, given.runs)
        most = (verified + drafted) / max(together, drafted)
        milliseconds = [f"{1e3 * part:.1f}" for part in (verified, drafted, left, together)]
        rows.append((str(nodes), *milliseconds, f"{most:.2f}"))
    titles = ("nodes", "pass, ms", "draft", "pass, a thread fewer", "the same beside drafts", "at most")
    print(f"{given.model}, {given.threads} threads, medians of {given.runs}")
    print_table(rows, titles)


if __name__ == "__main__":
    main()

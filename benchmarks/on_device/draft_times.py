"""Part *times*: a draft step and its LM head, in the shapes of published targets, with random weights.

Only the LM head and one EAGLE-2 layer are made, in bfloat16: no target has to fit. A step is the one that
the engine drafts: all levels of the tree behind a context of 1,024 tokens. The head's time is that of its
calls in a step, each behind caches that were emptied, as the drafter's layer empties them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from time import monotonic, perf_counter

import attrs
import torch
from torch import Tensor

from on_device.captured_step import CountedSteps
from on_device.parts import Figure, Row, Setup
from on_device.random_drafting import GATHERS, Strategy, Weights, make_drafting
from specframe.bench.report.traffic import MODELS, Model
from specframe.contracts.clock import PhaseClock
from specframe.contracts.protocols import GatherBackend
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.drafting.active import ActiveDrafting
from specframe.model.target import Prefill
from specframe.ops.graphs import CapturedSteps
from specframe_plugins.trees.shape import TreeShape

_BY_NAME = {model.name: model for model in MODELS}
_CONTEXT = 1024
_NEW = 60  # rows that a target pass makes active, see docs/kernels.md


@attrs.frozen
class _Sizes:
    """What is timed.

    Attributes:
        models: sizes of the LM head and of the layer.
        active: most active tokens per strategy; None for all.
        shape: of the draft trees.
        repeat: steps whose median counts.
        dtype: of the weights.
    """

    models: tuple[Model, ...]
    active: dict[Strategy, int | None]
    shape: TreeShape
    repeat: int
    dtype: torch.dtype


_ON_A_DEVICE = _Sizes(
    (
        _BY_NAME["Llama-3.1-8B"],
        _BY_NAME["Qwen2.5-7B"],
        attrs.evolve(_BY_NAME["Gemma-3-4B"], vocab_size=262_144),  # of its tokenizer, without padding
    ),
    {"full": None, "static": 32_768, "nanospec": 3072},
    TreeShape(depth=6, branching=10, nodes=60),
    40,
    torch.bfloat16,
)
_MINIATURE = _Sizes(
    (Model("tiny", 2000, 64, 128, 4, 2, 16, 1),),
    {"full": None, "static": 512, "nanospec": 128},
    TreeShape(depth=3, branching=4, nodes=12),
    3,
    torch.float32,
)


def check(setup: Setup) -> Iterator[Row]:
    """Yield the times of every model and strategy; what does not fit into the memory is left out."""
    sizes = _MINIATURE if setup.miniature else _ON_A_DEVICE
    end = monotonic() + 0.9 * setup.seconds
    for model in sizes.models:
        weights = None
        for strategy, active in sizes.active.items():
            rows = active or model.vocab_size
            what = f"{model.name}, {strategy} {rows:,}"
            if monotonic() > end:
                yield Row(what, None, "not measured: the time was over")
                continue
            try:
                weights = weights or Weights.random(model, setup.device, sizes.dtype)
            except torch.OutOfMemoryError as error:
                yield _too_large(what, error)
            else:
                yield Row.of(what, partial(_timed, what, weights, strategy, rows, sizes, setup))
        if not setup.miniature:
            torch.cuda.empty_cache()  # for the next model
    if setup.miniature:
        yield Row(
            "times of a GPU",
            None,
            "no GPU: the times above are a CPU's, of a small shape, for no conclusions",
        )


def _too_large(what: str, error: torch.OutOfMemoryError) -> Row:
    return Row(what, None, f"does not fit: {' '.join(str(error).split())}")


def _timed(what: str, weights: Weights, strategy: Strategy, active: int, sizes: _Sizes, setup: Setup) -> Row:
    try:
        return _measured(what, weights, strategy, active, sizes, setup)
    except torch.OutOfMemoryError as error:
        return _too_large(what, error)


def _measured(
    what: str, weights: Weights, strategy: Strategy, active: int, sizes: _Sizes, setup: Setup
) -> Row:
    fastest = "torch" if setup.miniature else "triton"  # what `auto` takes there
    timed = partial(Timed, weights, strategy, active, sizes.shape, setup)
    eager = timed(fastest, None)
    figures: dict[str, Figure] = {"gather": fastest, "active": active, "step_ms": eager.step(sizes.repeat)}
    said = [f"step {figures['step_ms']:.3f} ms"]
    if not setup.miniature:
        figures["step_graph_ms"] = timed(fastest, CountedSteps(torch.device(setup.device))).step(sizes.repeat)
        said.append(f"with graph {figures['step_graph_ms']:.3f}")
    figures["head_ms"] = eager.head()
    said.append(f"head {figures['head_ms']:.3f}")
    for gather in [] if setup.miniature else [name for name in GATHERS if name != fastest]:
        if gather == "triton-indexed" and strategy == "full":
            continue  # every row by index, in order: nobody runs that
        figures[f"head_{gather}_ms"] = timed(gather, None).head()
        said.append(f"{gather} {figures[f'head_{gather}_ms']:.3f}")
    if strategy == "nanospec":
        figures["vocabulary_ms"] = eager.vocabulary(sizes.repeat)
        said.append(f"admission {figures['vocabulary_ms']:.3f}")
    return Row(what, True, ", ".join(said), figures)


class Timed:
    """Drafting behind a context, and the times of what it does, in milliseconds.

    Args:
        weights: of drafter and LM head.
        strategy: what is active.
        active: how many tokens at most.
        shape: of the trees.
        setup: the device.
        gather: name of the gather backend.
        graphs: captures the step.
    """

    def __init__(
        self,
        weights: Weights,
        strategy: Strategy,
        active: int,
        shape: TreeShape,
        setup: Setup,
        gather: str,
        graphs: CapturedSteps | None,
    ) -> None:
        self._weights, self._shape, self._cpu = weights, shape, setup.miniature
        self._source = torch.Generator().manual_seed(0)
        self._clock = PhaseClock()
        backend = GATHERS[gather]()
        self._drafting = make_drafting(weights, strategy, active, backend, shape, graphs)
        self._features = self._random(_CONTEXT)
        self._begin(self._drafting, active, strategy)

    @torch.inference_mode()
    def _begin(self, drafting: ActiveDrafting, active: int, strategy: Strategy) -> None:
        """Read a context, and fill the active set to the last slot."""
        self._clock.start()
        prefill = Prefill(torch.empty(1, 0), self._features, TopTokens(self._ids(32, 3)))
        drafting.start(self._ids(_CONTEXT), prefill, self._source, self._clock)
        if strategy == "nanospec":
            drafting.admit(self._order()[:active].to(self._weights.device))

    @torch.inference_mode()
    def step(self, repeat: int) -> float:
        """Return the median of a draft step from its call until the tree is there."""
        times = []
        for index in range(repeat + 3):
            self._wait()
            begin = perf_counter()
            self._draft()
            self._wait()
            if index >= 3:  # compiles, allocates, captures
                times.append(perf_counter() - begin)
        return _milliseconds(statistics.median(times))

    @torch.inference_mode()
    def head(self) -> float:
        """Return how long the LM head's calls of a step take together."""
        head: GatherBackend = self._drafting.figures.over.head
        k, later = self._shape.branching, self._shape.drafted_levels
        alone = self._call(lambda: head.topk(self._features[:1], k))
        return round(alone + later * self._call(lambda: head.topk(self._features[:k], k)), 4)

    @torch.inference_mode()
    def vocabulary(self, repeat: int) -> float:
        """Return the median of what follows a target pass: admission, and the fetch of the new rows."""
        tree, order, times = self._draft(), self._order().to(self._weights.device), []
        seen = tree.token_ids[:1].repeat(3 * len(tree))  # most of what turns up is active already, as in text
        for index in range(repeat + 3):
            first = (index * _NEW) % len(order)
            new = order[first : first + min(_NEW, len(seen))]
            seen[: len(new)] = new
            verdict = Verdict((0,), (), 11, path_ends_at_leaf=False)
            self._wait()
            begin = perf_counter()
            self._drafting.observe(verdict, tree, TopTokens(seen.view(len(tree), 3)))
            self._wait()
            if index >= 3:
                times.append(perf_counter() - begin)
        return _milliseconds(statistics.median(times))

    def _draft(self) -> DraftTree:
        tree = self._drafting.draft(7, self._features[-1:], self._clock)
        self._drafting.drafter.commit(Verdict((0,), (), 11, path_ends_at_leaf=False))
        return tree

    def _call(self, call: Callable[[], object]) -> float:
        """Return the median of a call's time on the device, behind emptied caches."""
        if self._cpu:
            begin = perf_counter()
            call()
            return 1e3 * (perf_counter() - begin)
        from triton.testing import do_bench

        median: float = do_bench(call, warmup=10, rep=60, return_mode="median")
        return median

    def _wait(self) -> None:
        if not self._cpu:
            torch.cuda.synchronize()

    def _order(self) -> Tensor:
        return torch.randperm(self._weights.model.vocab_size, generator=torch.Generator().manual_seed(1))

    def _ids(self, *shape: int) -> Tensor:
        ids = torch.randint(self._weights.model.vocab_size, shape, generator=self._source)
        return ids.to(self._weights.device)

    def _random(self, count: int) -> Tensor:
        features = torch.randn(count, self._weights.model.hidden_size, generator=self._source)
        return features.to(self._weights.head.weight)


def _milliseconds(seconds: float) -> float:
    return round(1e3 * seconds, 4)

"""Learning and drafting never wait for the device: nothing of what they compute is read on the host.

Triton's interpreter runs the kernels, so these tests need TRITON_INTERPRET=1, which engines must not see.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import VocabularyBuilder
from specframe.vocabulary.store import VocabularyStore
from specframe_kernels.launch import Launch
from specframe_plugins.gathers.triton.packed import PackedGather
from specframe_plugins.vocabularies.nanospec import NanospecOptions, NanospecVocabulary
from specframe_vllm.active_head import ActiveHead
from specframe_vllm.active_sets import ActiveSets, SetPerRequest, SharedSet
from specframe_vllm.draft_rows import DraftRows
from specframe_vllm.drafting import ActiveDrafting
from specframe_vllm.hooks import loading, v1
from specframe_vllm.hooks.step import Step
from specframe_vllm.strategies import BatchedStrategy

VOCAB, HIDDEN, NODES, WIDTH = 512, 16, 4, 4
READING_METHODS = {"tolist", "item", "cpu", "numpy", "__array__", "__bool__", "__int__", "__float__"}
READING_OPERATIONS = {"aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten._unique2"}


class HostReads:
    """Notes what would wait for a device; the interpreter, which reads what it computes with, is left out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: list[str] = []
        self.listening = False
        run = Launch.run

        def unheard(launch: Launch) -> None:
            listening, self.listening = self.listening, False
            run(launch)
            self.listening = listening

        monkeypatch.setattr(Launch, "run", unheard)

    def note(self, what: str) -> None:
        if self.listening:
            self.found.append(what)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> HostReads:
    return HostReads(monkeypatch)


def heard(reads: HostReads, what: Any) -> list[str]:
    """Return the reads of a call."""

    class Functions(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(func, "__name__", "") in READING_METHODS:
                reads.note(func.__name__)
            return func(*args, **(kwargs or {}))

    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = str(func.overloadpacket)
            masks = name in ("aten.index", "aten.index_put", "aten.index_put_") and any(
                index is not None and index.dtype == torch.bool for index in args[1]
            )
            if name in READING_OPERATIONS or masks:
                reads.note(name)
            return func(*args, **(kwargs or {}))

    with Functions(), Operations():
        reads.listening = True
        what()
        reads.listening = False
    return reads.found


HEAD = OutputHead(torch.randn(VOCAB, HIDDEN, generator=torch.Generator().manual_seed(0)))
ROWS = DraftRows(head=HEAD, ranks=1, rows_per_rank=VOCAB, total=VOCAB, token_ids=None)


def strategy() -> NanospecVocabulary:
    return NanospecVocabulary(NanospecOptions(capacity=64), torch.arange(3), VOCAB)


def store(builder: VocabularyBuilder, eviction: Any) -> VocabularyStore:
    return VocabularyStore(
        HEAD, PackedGather(), capacity=64, eviction=eviction, pinned_ids=builder.pinned_ids
    )


def drafting_over(sets: ActiveSets) -> ActiveDrafting:
    builder = strategy()
    head = ActiveHead(ROWS, sets)
    device, window = torch.device("cpu"), builder.prompt_window
    return ActiveDrafting(head, sets, BatchedStrategy(builder), builder, "it", device, window, None)


def step(requests: list[str]) -> Step:
    """Return a step of some requests with a chain each."""
    count = len(requests)
    source = torch.Generator().manual_seed(1)

    def ids(*shape: int) -> torch.Tensor:
        return torch.randint(VOCAB, shape, generator=source)

    emitted = torch.cat([ids(count, 2), torch.full((count, WIDTH - 2), -1)], dim=1)
    prompts = [ids(9) for _ in requests]
    return Step(
        requests=requests,
        unfinished=[False] * count,
        computed=[NODES] * count,
        nodes=[NODES] * count,
        node_ids=ids(count * NODES),
        emitted_ids=emitted,
        topk_ids=ids(count * NODES, 3),
        hidden=torch.randn(count * NODES, HIDDEN, generator=source),
        prompt_ids=lambda row: prompts[row],
        compute_logits=lambda hidden: hidden @ HEAD.weight.T,
    )


@pytest.mark.parametrize("sets", ["shared", "per request"])
def test_nothing_is_read_on_the_host(reads: HostReads, sets: str) -> None:
    builder = strategy()
    made: ActiveSets = SharedSet(store(builder, "lru"))
    if sets == "per request":
        made = SetPerRequest(lambda: store(builder, "fifo"), 2, 2**30)
    drafting = drafting_over(made)
    begins, goes_on = step(["a", "b"]), step(["a", "b"])
    hidden = torch.randn(2, HIDDEN)

    def serve() -> None:
        for part in (begins, goes_on):
            part.teach(drafting)
            drafting.head.get_top_tokens(hidden)
            drafting.head.compute_logits(hidden)

    assert heard(reads, serve) == []


class Drafter:
    """A proposer of V1 that is drafted for; its model asks ``ActiveHead`` itself."""


class Runner:
    """What the hooks read of V1's model runner, while two requests run; numpy arrays are on the host.

    Args:
        drafting: of its drafter.
        before: how many tokens of each request were computed before this step.
    """

    def __init__(self, drafting: ActiveDrafting, before: int) -> None:
        self.drafter = Drafter()
        loading._drafting[self.drafter] = drafting
        source = torch.Generator().manual_seed(2)
        ids = torch.randint(VOCAB, (2, 64), generator=source)
        self.input_batch = SimpleNamespace(
            num_reqs=2,
            req_ids=["a", "b"],
            num_computed_tokens_cpu=np.array([before, before], dtype=np.int32),
            token_ids_cpu=ids.numpy().astype(np.int32),
        )
        self.input_ids = SimpleNamespace(gpu=ids.flatten()[: 2 * NODES].int())
        self.discard_request_mask = SimpleNamespace(np=np.zeros(2, dtype=bool))
        self.model_config = SimpleNamespace(get_vocab_size=lambda: VOCAB)
        self.model = SimpleNamespace(compute_logits=lambda hidden: hidden @ HEAD.weight.T)

    def step(self, sampled: torch.Tensor) -> None:
        """Update, sample and propose, as vLLM does in this order."""
        metadata = SimpleNamespace(
            num_draft_tokens=[NODES - 1] * 2, logits_indices=torch.arange(2 * NODES, dtype=torch.int32)
        )
        scheduled = SimpleNamespace(
            num_scheduled_tokens={"a": NODES, "b": NODES},
            finished_req_ids={"c"},
            scheduled_cached_reqs=SimpleNamespace(resumed_req_ids=set()),
            num_spec_tokens_to_schedule=NODES - 1,
        )
        hidden = torch.randn(2 * NODES, HIDDEN)
        starts = SimpleNamespace(query_start_loc=torch.tensor([0, NODES, 2 * NODES], dtype=torch.int32))
        v1._update_states(nothing, self, scheduled)
        v1._sample(nothing, self, hidden @ HEAD.weight.T, metadata)
        v1._propose(nothing, self, scheduled, sampled, None, hidden, hidden, None, metadata, starts, None)


def nothing(*_: Any, **__: Any) -> None:
    """Be what vLLM does itself."""


def test_the_hooks_of_v1_read_nothing_on_the_host(reads: HostReads) -> None:
    drafting = drafting_over(SharedSet(store(strategy(), "lru")))
    sampled = torch.tensor([[7, -1, -1, -1], [9, 11, -1, -1]], dtype=torch.int32)
    begins, goes_on = Runner(drafting, 0), Runner(drafting, NODES)

    def serve() -> None:
        for runner in (begins, goes_on):
            runner.step(sampled)

    assert heard(reads, serve) == []
    assert drafting.failure is None
    assert drafting.steps == 2
    assert drafting.running == 2


def test_what_a_captured_graph_reads_stays_where_it_is() -> None:
    builder = strategy()
    one = store(builder, "lru")
    drafting = drafting_over(SharedSet(one))
    step(["a"]).teach(drafting)
    drafting.head.get_top_tokens(torch.randn(1, HIDDEN))
    before = [tensor.data_ptr() for tensor in (*one.tensors, *one.head.held())]
    for _ in range(3):
        step(["a"]).teach(drafting)
        drafting.head.get_top_tokens(torch.randn(1, HIDDEN))
    assert [tensor.data_ptr() for tensor in (*one.tensors, *one.head.held())][: len(before)] == before

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from paper_machines import paper_costs
from tiny_models import VOCAB_SIZE, tiny_target
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.options import build_options
from specframe.contracts.tree import DraftTree, Verdict
from specframe.costs.model import CostModel
from specframe.errors import UsageError
from specframe.model.target import Target
from specframe.registry.components import BuildContext
from specframe.registry.manager import create_plugin_manager, shipped_data
from specframe.testing import ReferenceGather
from specframe.vocabulary.store import VocabularyStore
from specframe_plugins.vocabularies.components.nanospec import COMPONENT
from specframe_plugins.vocabularies.frequencies import TokenFrequencies
from specframe_plugins.vocabularies.nanospec import (
    NanospecOptions,
    NanospecVocabulary,
    core_size,
    window_size,
)

REQUIRED = torch.tensor([0, 1, 2])


@pytest.fixture(scope="module")
def target() -> Target:
    return tiny_target()


def build(target: Target, **options: Any) -> NanospecVocabulary:
    context = BuildContext(target=target, required_ids=REQUIRED)
    built: NanospecVocabulary = COMPONENT.factory(
        build_options(COMPONENT.options, options, "vocabulary 'nanospec'"), context
    )
    return built


def one_step() -> tuple[Verdict, DraftTree, Tensor]:
    """Return a step in which node 2 was accepted: its verdict, its tree and the target's top-2 ids."""
    tree = DraftTree(
        torch.tensor([10, 11, 12]), torch.tensor([-1, 0, 0]), torch.tensor([0, 1, 1]), torch.zeros(3)
    )
    verdict = Verdict(path=(0, 2), accepted_ids=(12,), next_token=50, path_ends_at_leaf=True)
    return verdict, tree, torch.tensor([[12, 31], [32, 33], [50, 35]])


PROMPT = torch.tensor([5, 6, 5])
PROMPT_TOPK = torch.tensor([[20, 21], [22, 20]])


def test_a_request_starts_with_the_context_and_then_the_extension(target: Target) -> None:
    assert build(target).start(PROMPT, PROMPT_TOPK).tolist() == [5, 6, 5, 20, 21, 22, 20]


def test_a_target_pass_admits_drafted_tokens_top_tokens_and_the_output(target: Target) -> None:
    assert set(build(target).observe(*one_step()).tolist()) == {10, 11, 12, 31, 32, 33, 50, 35}


def test_context_alone_admits_only_the_text(target: Target) -> None:
    builder = build(target, use_extension=False)
    verdict, tree, _ = one_step()
    assert (builder.harvest_topk, builder.prompt_window) == (0, 0)
    assert builder.start(PROMPT, None).tolist() == PROMPT.tolist()
    assert builder.observe(verdict, tree, None).tolist() == [10, 12, 50]


def test_extension_alone_leaves_the_prompt_out(target: Target) -> None:
    builder = build(target, use_context=False)
    assert builder.start(PROMPT, PROMPT_TOPK).tolist() == [20, 21, 22, 20]
    assert builder.observe(*one_step()).tolist() == [10, 11, 12, 12, 31, 32, 33, 50, 35]


def test_without_a_prompt_window_only_the_context_starts_a_request(target: Target) -> None:
    assert build(target, prompt_window=0).start(PROMPT, None).tolist() == PROMPT.tolist()


def test_ids_that_end_a_generation_are_pinned(target: Target) -> None:
    assert build(target).pinned_ids.tolist() == REQUIRED.tolist()


def test_the_core_pins_the_most_frequent_tokens(target: Target, tmp_path: Path) -> None:
    frequencies = tmp_path / "ids.json"
    frequencies.write_text("[40, 1, 41, 42]")
    builder = build(target, core=3, frequencies=str(frequencies))
    assert builder.pinned_ids.tolist() == [0, 1, 2, 40, 41]


def test_without_frequencies_for_the_target_there_is_no_core(target: Target) -> None:
    assert build(target).pinned_ids.tolist() == REQUIRED.tolist()


def test_frequencies_alone_make_a_core_in_proportion_to_the_capacity(target: Target, tmp_path: Path) -> None:
    frequencies = tmp_path / "ids.json"
    frequencies.write_text(str(list(range(40, 90))))
    builder = build(target, capacity=60, frequencies=str(frequencies))
    assert builder.pinned_ids.tolist() == [*REQUIRED.tolist(), *range(40, 50)]


def test_shipped_frequencies_make_a_core(smollm2: Target) -> None:
    data = shipped_data(create_plugin_manager())
    context = BuildContext(target=smollm2, required_ids=smollm2.required_ids, data=data)
    with_core = COMPONENT.factory(COMPONENT.options(), context).pinned_ids
    without = COMPONENT.factory(COMPONENT.options(core=0), context).pinned_ids
    assert 512 <= len(with_core) <= 512 + len(without)
    assert len(without) == len(smollm2.required_ids)


def core_by(costs: CostModel | None, **options: Any) -> int:
    """Return how many of 49,152 tokens, whose counts fall as 1 / rank, form the core."""
    counts = (10**7 / torch.arange(1, 49153)).long().clamp(min=1)
    frequencies = TokenFrequencies(torch.arange(49152), counts, "made up")
    target = SimpleNamespace(vocab_size=49152)
    context = SimpleNamespace(target=target, costs=costs)
    return core_size(NanospecOptions(**options), context, frequencies)  # type: ignore[arg-type]


CHEAP_ROWS, DEAR_ROWS = paper_costs(head={512: 0.1, 8192: 0.12}), paper_costs(head={512: 2.0, 8192: 32.0})


def test_a_core_grows_where_rows_of_the_head_are_cheap_and_shrinks_where_they_are_dear() -> None:
    assert core_by(CHEAP_ROWS) > 2 * core_by(None) > 2 * core_by(DEAR_ROWS)


def test_without_costs_a_core_is_in_proportion_to_the_capacity() -> None:
    assert core_by(None) == 3072 // 6


def test_a_core_that_was_asked_for_is_what_was_asked_for() -> None:
    assert {core_by(costs, core=700) for costs in (None, CHEAP_ROWS, DEAR_ROWS)} == {700}


def test_a_core_leaves_at_least_half_of_a_capacity_that_was_asked_for() -> None:
    for capacity in (150, 300, 1100, 5000):
        assert core_by(CHEAP_ROWS, capacity=capacity) <= capacity // 2


def test_a_large_core_leaves_room_for_what_turns_up() -> None:
    core = core_by(CHEAP_ROWS)
    assert NanospecOptions().slots(core, 49152) >= core + 2000


def window_by(costs: CostModel | None, core: int = 512) -> int:
    return window_size(SimpleNamespace(costs=costs), core)  # type: ignore[arg-type]


FREE_HEAD, DEAR_HEAD = paper_costs(whole={1: 0.01, 4: 0.02}), paper_costs(whole={1: 8.0, 4: 12.0})


def test_the_prompt_is_harvested_as_far_as_the_head_pays_for_it() -> None:
    assert [window_by(costs) for costs in (None, FREE_HEAD, DEAR_HEAD)] == [32, 32, 1]


def test_without_a_core_the_prompt_may_cost_more() -> None:
    between = paper_costs(whole={1: 0.1, 4: 0.4})
    assert [window_by(between, core) for core in (0, 512)] == [32, 1]


def test_a_window_that_was_asked_for_is_what_was_asked_for() -> None:
    builders = [
        NanospecVocabulary(NanospecOptions(prompt_window=asked), REQUIRED, VOCAB_SIZE, window=1)
        for asked in (7, None)
    ]
    assert [builder.prompt_window for builder in builders] == [7, 1]


def test_the_capacity_is_at_most_the_vocabulary(target: Target) -> None:
    assert build(target).capacity == VOCAB_SIZE


def test_options_that_admit_nothing_are_refused(target: Target) -> None:
    with pytest.raises(UsageError, match="nothing is admitted; set use_context, use_extension or core"):
        build(target, use_context=False, use_extension=False)


def test_frequencies_without_a_core_are_refused(target: Target) -> None:
    with pytest.raises(UsageError, match="set core above 0"):
        build(target, core=0, frequencies="ids.json")


def test_a_capacity_that_only_holds_the_pinned_ids_is_refused(target: Target) -> None:
    with pytest.raises(UsageError, match="capacity 3 leaves no slot beside the 3 pinned ids"):
        build(target, capacity=3)


@pytest.mark.parametrize(
    ("name", "value"),
    [("capacity", "0"), ("harvest_topk", "0"), ("prompt_window", "-1"), ("eviction", "lfu")],
)
def test_values_out_of_bounds_are_refused(target: Target, name: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"option {name} of vocabulary 'nanospec'"):
        build(target, **{name: value})


def test_nothing_is_read_on_the_host(target: Target) -> None:
    builder = build(target)
    verdict, _, _ = one_step()
    with FakeTensorMode():  # a read that depends on data raises here
        ids = torch.empty(9, dtype=torch.int64)
        builder.start(ids, torch.empty(9, 3, dtype=torch.int64))
        builder.observe(verdict, DraftTree(ids, ids, ids, torch.empty(9)), ids[:, None])


def test_a_long_request_never_outgrows_the_packed_head(target: Target) -> None:
    builder = build(target, capacity=20)
    store = VocabularyStore(
        OutputHead(torch.zeros(VOCAB_SIZE, 2)),
        ReferenceGather(),
        capacity=20,
        eviction=builder.eviction,
        pinned_ids=builder.pinned_ids,
    )
    store.admit(builder.start(torch.arange(VOCAB_SIZE), torch.arange(VOCAB_SIZE)[:, None]))
    for _ in range(30):
        verdict, tree, topk_ids = one_step()
        store.admit(builder.observe(verdict, tree, topk_ids))
        assert int(store.active_size) == 20
        assert store.contains(torch.tensor([*REQUIRED.tolist(), *verdict.emitted_ids])).all()

"""From the settings of an engine to drafts over active sets: choose, check, bind, and say what runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from vllm.config import VllmConfig
from vllm.distributed import get_tensor_model_parallel_rank
from vllm.logger import init_logger

from specframe.config import RunConfig
from specframe.contracts.protocols import GatherBackend, VocabularyBuilder
from specframe.contracts.screen import Screen
from specframe.engine.draft_states import StatesOfHead
from specframe.errors import UsageError, one_line
from specframe.registry.choice import check_supported, resolve_gather
from specframe.registry.components import BuildContext, NoOptions, Setting
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe.vocabulary.store import VocabularyStore
from specframe_vllm import metrics, preflight
from specframe_vllm.active_head import ActiveHead
from specframe_vllm.active_sets import ActiveSets, SetPerRequest, SharedSet
from specframe_vllm.choosing import Choice
from specframe_vllm.draft_rows import DraftRows
from specframe_vllm.drafting import ActiveDrafting
from specframe_vllm.settings import Asked, asked_values
from specframe_vllm.strategies import BatchedStrategy, Strategies, StrategyPerRequest
from specframe_vllm.target import VllmTarget

_log = init_logger("vllm.specframe")

# What components are told that they run beside: vLLM drafts and verifies itself.
_VLLM = "vllm"


def assemble(config: VllmConfig, draft_model: nn.Module, device: torch.device) -> ActiveDrafting | None:
    """Return what the settings of an engine ask for; None where nothing is asked for, or no pruning.

    Args:
        config: of the engine.
        draft_model: as its proposer has loaded it.
        device: where it runs.

    Raises:
        UsageError: a setting is wrong, or does not go with the engine.
    """
    values = asked_values(config.additional_config)
    if values is None or not preflight.drafts_with_a_head(config):
        return None
    registry = build_registry(create_plugin_manager())
    asked = Asked.of(values, registry)
    preflight.refuse_what_changes_rows(config)
    vocab_size = int(config.model_config.get_vocab_size())
    rows = DraftRows.of(draft_model, vocab_size)
    target = VllmTarget(config.model_config, device, rows.head)
    setting = Setting(
        device=device,
        dtype=rows.head.dtype,
        vocabulary=asked.settings.strategy,
        gather=asked.settings.gather,
        drafter=_VLLM,
        verifier=_VLLM,
    )
    run = RunConfig(strategy=asked.settings.strategy, gather=asked.settings.gather)
    gather = registry.get("gather", resolve_gather(run, registry, setting).gather)
    registration = registry.registration("vocabulary", asked.settings.strategy)
    component = registration.component
    check_supported({"vocabulary": (component, asked.options), "gather": (gather, NoOptions())}, setting)
    choice = Choice.of(asked, registry, target)

    def make_backend() -> GatherBackend:
        return cast(GatherBackend, gather.factory(NoOptions(), choice.context))

    strategy = choice.make()
    if strategy.capacity is None:
        _log.info("specframe: strategy %r prunes nothing; vLLM drafts as it does without", component.name)
        return None
    screen = _screen(strategy, make_backend(), rows, config, component.name)
    sets = _sets(asked, strategy, make_backend, rows, choice.context, config)
    # Ranks compare logits, which are made anew each time.
    buffers = sets.buffer_bytes(config.scheduler_config.max_num_seqs) if rows.ranks == 1 else 0
    if screen is not None:
        buffers += sum(tensor.nbytes for tensor in screen.held())
    _check_memory(sets, buffers, asked.settings.memory)
    strategies: Strategies = StrategyPerRequest(choice.make)
    if strategy.takes_batches:
        strategies = BatchedStrategy(strategy)
    file = _figure_file(config) if get_tensor_model_parallel_rank() == 0 else None
    name = f"strategy {component.name!r} of {registration.distribution}"
    window = strategy.prompt_window
    if device.type == "cpu" and "prompt_window" not in values:
        # An LM head over many positions takes longer there than what it finds spares; the last has been
        # through it anyway.
        window = min(window, 1)
    head = ActiveHead(rows, sets, screen)
    drafting = ActiveDrafting(head, sets, strategies, strategy, name, device, window, file)
    _say(drafting, asked, strategy, gather.name, rows, config.speculative_config, buffers)
    return drafting


def _screen(
    strategy: VocabularyBuilder, backend: GatherBackend, rows: DraftRows, config: VllmConfig, name: str
) -> Screen | None:
    """Return the strategy's screen, bound to the LM head; None where it has none.

    Raises:
        UsageError: the engine or the gather backend cannot have one, or nothing is kept to fit it to.
    """
    screen = strategy.screen
    if screen is None:
        return None
    preflight.refuse_split_screen(strategy, config)
    if not backend.scores_candidates:
        raise UsageError(f"strategy {name!r} needs a gather backend that scores candidates, such as torch")
    if not 1 <= screen.width <= rows.total:
        raise UsageError(
            f"strategy {name!r} wants {screen.width} candidates; allowed: 1 to {rows.total}, the rows of the "
            "draft model's LM head"
        )
    screen.bind(rows.head, StatesOfHead(rows.head, str(config.model_config.model)))
    return screen


def _check_memory(sets: ActiveSets, buffers: int, limit: float) -> None:
    """Raise a ``UsageError`` where active sets take too much only together with their buffers."""
    use = sets.memory()
    taken = use.packed_bytes + use.store_bytes + buffers
    if taken > limit * 2**30:
        raise UsageError(
            f"active sets, screen, and buffers for every batch size take {taken / 2**30:.3g} GiB; allowed: "
            f"{limit:.3g} GiB, set by memory; lower max_num_seqs or capacity"
        )


def _figure_file(config: VllmConfig) -> metrics.FigureFile | None:
    """Return where an engine writes its figures; None where nothing can be written."""
    try:
        # Independent engines count as rank 0 each; the index tells them apart.
        return metrics.FigureFile(metrics.folder(), config.parallel_config.data_parallel_index)
    except OSError as error:
        _log.warning("specframe: there will be no metrics: %s", one_line(error))
        return None


def _sets(
    asked: Asked,
    strategy: VocabularyBuilder,
    make_backend: Callable[[], GatherBackend],
    rows: DraftRows,
    context: BuildContext,
    config: VllmConfig,
) -> ActiveSets:
    """Return the active sets, all of their memory included."""
    shared = asked.settings.sets == "shared"
    # Drafts need one active token at least.
    pinned = strategy.pinned_ids if len(strategy.pinned_ids) else context.required_ids
    # A screen may do without an active set; vLLM's drafts have one at least for what ends a text.
    capacity = cast(int, strategy.capacity) or len(pinned)

    def make() -> VocabularyStore:
        return VocabularyStore(
            rows.head,
            make_backend(),
            capacity=capacity,
            # What one request admitted long ago may be in use by another one all the time.
            eviction="lru" if shared else strategy.eviction,
            pinned_ids=pinned,
        )

    limit = asked.settings.memory * 2**30
    if shared:
        return SharedSet(make(), limit)
    return SetPerRequest(make, config.scheduler_config.max_num_seqs, limit)


def _say(
    drafting: ActiveDrafting,
    asked: Asked,
    strategy: VocabularyBuilder,
    gather: str,
    rows: DraftRows,
    speculative: Any,
    buffers: int,
) -> None:
    """Write what runs to the log."""
    use = drafting.sets.memory()
    sets = "one active set" if asked.settings.sets == "shared" else f"{len(drafting.sets.stores)} active sets"
    _log.info(
        "specframe: drafts of %s go over strategy %r: %s of %d slots for %d rows%s, %d of the target's top "
        "ids per node, gather backend %r; %.1f MiB of rows, %.1f MiB of books, %.1f MiB of screen and of "
        "buffers once all batch sizes came up, LM head %.1f MiB",
        speculative.method,
        asked.settings.strategy,
        sets,
        drafting.sets.stores[0].active.capacity,
        rows.total,
        f" on {rows.ranks} ranks" if rows.ranks > 1 else "",
        drafting.harvest_topk,
        gather,
        use.packed_bytes / 2**20,
        use.store_bytes / 2**20,
        buffers / 2**20,
        use.head_bytes / 2**20,
    )
    if not strategy.takes_batches and drafting.sets.stores[0].stays_on_device:
        _log.warning(
            "specframe: strategy %r is told of verdicts on the host: every step waits for the device once",
            asked.settings.strategy,
        )

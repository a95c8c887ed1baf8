"""From a config to an engine: choose the components, check that they fit, and bind them."""

from __future__ import annotations

from typing import Any, get_args

import attrs
import pluggy

from specframe.config import AUTO, AUTOREGRESSIVE, RunConfig
from specframe.contracts.kinds import KINDS, Kind
from specframe.contracts.protocols import Capturable, Drafter, Eviction, GatherBackend, VocabularyBuilder
from specframe.engine.controlled_drafting import ControlledDrafting
from specframe.engine.drafting import Autoregressive, Drafting
from specframe.engine.engine import Engine
from specframe.errors import UsageError, blame_one, unknown_name
from specframe.model.loading import load_pretrained
from specframe.model.target import Target
from specframe.registry.choice import (
    check_config,
    check_supported,
    common_tree,
    find_device,
    find_dtype,
    name_of,
    setting_for,
    wants_cuda_graph,
)
from specframe.registry.components import BuildContext
from specframe.registry.manager import create_plugin_manager
from specframe.registry.observers import Observers
from specframe.vocabulary.store import VocabularyStore
from specframe.vocabulary.translated_head import translated


def build_engine(
    config: RunConfig,
    *,
    manager: pluggy.PluginManager | None = None,
    target: Target | None = None,
) -> Engine:
    """Return an engine for a config.

    Everything that can be checked without the model is checked before the model is loaded.

    Args:
        config: what to run.
        manager: plugin manager; by default a fresh one with every installed plugin.
        target: an already loaded target, to share it between engines; by default ``config.model`` is loaded.

    Raises:
        UsageError: a name, an option, a checkpoint or a combination is not allowed.
    """
    manager = manager or create_plugin_manager()
    if target is not None and config.dtype == AUTO:
        config = attrs.evolve(config, dtype=name_of(target.dtype))
    config, chosen = check_config(config, manager)

    if target is None:
        loaded = load_pretrained(config.model, find_dtype(config.dtype), find_device(config.device))
        target = Target.from_loaded(loaded, config.target_forward)
    context = BuildContext(
        target=target,
        required_ids=target.required_ids,
        tree=common_tree(chosen) or "top-k",
        sampling=config.sampling,
        cuda_graph=wants_cuda_graph(config, target.device),
    )
    built: dict[Kind, Any] = {}
    for kind, (component, options) in chosen.items():
        with blame_one(f"{KINDS[kind].label} {component.name!r}"):
            built[kind] = component.factory(options, context)
    drafting = Autoregressive()
    if config.strategy != AUTOREGRESSIVE:
        gather, gather_options = chosen["gather"]
        controlled = getattr(chosen["vocabulary"][1], "controller", False)
        drafting = bind_drafting(
            built, config, gather.factory(gather_options, context) if controlled else None
        )
    lossy, setting = chosen["verifier"][0].lossy, setting_for(config, target.device, target.dtype)
    return Engine(
        config,
        target,
        built["verifier"],
        drafting,
        Observers(manager),
        lossy=lossy,
        check_sampling=lambda sampling: check_supported(chosen, attrs.evolve(setting, sampling=sampling)),
    )


def bind_drafting(
    built: dict[Kind, Any], config: RunConfig, full_backend: GatherBackend | None = None
) -> Drafting:
    """Bind strategy, store, gather backend and drafter to each other.

    Args:
        built: the components by kind.
        config: what they were called.
        full_backend: another gather backend, for the whole LM head, with which a controller chooses; None for
            no controller.

    Raises:
        UsageError: the strategy's capacity, eviction or pinned ids do not fit.
    """
    strategy: VocabularyBuilder = built["vocabulary"]
    drafter, backend = built["drafter"], built["gather"]
    if config.cuda_graph and not isinstance(backend, Capturable):
        raise UsageError(
            f"gather backend {config.gather!r} cannot run in a CUDA graph; allowed: --no-cuda-graph"
        )
    head, full_head = _in_target_ids(backend, drafter), None
    if full_backend is not None:
        full_backend.bind(drafter.output_head, None)
        full_head = _in_target_ids(full_backend, drafter)
    if strategy.capacity is None:
        backend.bind(drafter.output_head, None)
        return _drafting(drafter, head, strategy, None, full_head)
    if strategy.capacity < drafter.branching:
        raise UsageError(
            f"capacity {strategy.capacity} of strategy {config.strategy!r} is below the branching "
            f"{drafter.branching} of drafter {config.drafter!r}; allowed: at least {drafter.branching}"
        )
    if strategy.eviction not in get_args(Eviction):
        raise unknown_name("eviction", strategy.eviction, get_args(Eviction))
    store = VocabularyStore(
        drafter.output_head,
        backend,
        capacity=strategy.capacity,
        eviction=strategy.eviction,
        pinned_ids=strategy.pinned_ids,
    )
    return _drafting(drafter, head, strategy, store, full_head)


def _in_target_ids(backend: GatherBackend, drafter: Drafter) -> GatherBackend:
    """Return the backend as the drafter sees it."""
    reduced = drafter.output_head.reduced
    return backend if reduced is None else translated(backend, reduced)


def _drafting(
    drafter: Drafter,
    head: GatherBackend,
    strategy: VocabularyBuilder,
    store: VocabularyStore | None,
    full_head: GatherBackend | None,
) -> Drafting:
    if full_head is None:
        return Drafting(drafter, head, strategy, store)
    return ControlledDrafting(drafter, head, strategy, store, full_head)

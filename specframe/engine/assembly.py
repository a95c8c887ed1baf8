"""From a config to an engine: choose the components, check that they fit, and bind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pluggy

from specframe.config import AUTO, AUTOREGRESSIVE, RunConfig
from specframe.contracts.called.strategy import CalledStrategy
from specframe.contracts.called.verifier import CalledVerifier
from specframe.contracts.faults import ComponentError
from specframe.contracts.kinds import Kind
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import (
    Drafter,
    GatherBackend,
    VocabularyBuilder,
    lm_head_of,
)
from specframe.contracts.screen import Screen, StateSource
from specframe.engine.declared import check_declared
from specframe.engine.draft_states import DraftStates
from specframe.engine.drafting.active import ActiveDrafting, Unpruned
from specframe.engine.drafting.autoregressive import Autoregressive
from specframe.engine.drafting.planned import PlannedDrafting
from specframe.engine.drafting.protocol import Drafting
from specframe.engine.engine import Engine
from specframe.engine.faults import without_drafting
from specframe.engine.known_costs import KnownCosts
from specframe.engine.measuring import POSITIONS
from specframe.errors import UsageError
from specframe.model.loading import generation_config_of, open_pretrained
from specframe.model.target import Target
from specframe.registry.choice import (
    check_config,
    check_supported,
    common_tree,
    setting_for,
    wanted_target_head,
    wants_costs,
    wants_cuda_graph,
)
from specframe.registry.components import BuildContext, Component
from specframe.registry.manager import create_plugin_manager, shipped_data
from specframe.registry.observers import Observers
from specframe.registry.placement import find_device, find_dtype, name_of
from specframe.request.generation_config import ModelDefaults
from specframe.vocabulary.every_token import EveryToken
from specframe.vocabulary.protocol import DraftVocabulary
from specframe.vocabulary.screened import ScreenedVocabulary
from specframe.vocabulary.store import VocabularyStore
from specframe.vocabulary.whole import WholeVocabulary


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
    if target is not None:
        config = _placed_like(config, target)
    config, defaults = with_defaults(config, target)
    fallback: ComponentError | None = None
    try:
        checked, chosen = check_config(config, manager)
    except ComponentError as error:
        fallback = error
        checked, chosen = check_config(without_drafting(config, error), manager)
    config = checked

    if target is None:
        device = find_device(config.device)
        opened = open_pretrained(config.model, find_dtype(config.dtype), device)
        target = Target(opened, config.target_forward, wanted_target_head(config, device))
    defaults.check_ids(target.vocab_size)
    context = BuildContext(
        target=target,
        required_ids=target.required_ids,
        tree=common_tree(chosen) or "top-k",
        sampling=config.sampling,
        cuda_graph=wants_cuda_graph(config, target.device),
        # A context too short to measure in has no room for large trees either.
        budgeted=wants_costs(config, target.device) and target.max_positions >= POSITIONS,
        data=shipped_data(manager),
    )
    build = _Building(config, chosen, context)
    verifier: CalledVerifier = build.make("verifier")
    drafting: Drafting = Autoregressive()
    states: DraftStates | None = None
    if config.strategy != AUTOREGRESSIVE:
        try:
            drafting, states = build.drafting(verifier)
        except ComponentError as error:
            fallback = error
            config = without_drafting(config, error)
            chosen = {"verifier": chosen["verifier"]}
    setting = setting_for(config, target.device, target.dtype)
    return Engine(
        config,
        target,
        verifier,
        drafting,
        Observers(manager),
        lossy=chosen["verifier"][0].lossy,
        states=states,
        check_sampling=lambda sampling: check_supported(chosen, attrs.evolve(setting, sampling=sampling)),
        defaults=defaults,
        fallback=None if fallback is None else str(fallback),
    )


@attrs.frozen
class _Building:
    """What an engine is put together from.

    Attributes:
        config: of the run.
        chosen: component and options of each kind.
        context: what factories may use.
    """

    config: RunConfig
    chosen: Mapping[Kind, tuple[Component, Any]]
    context: BuildContext

    def make(self, kind: Kind) -> Any:
        """Return a component of a kind, as it is called.

        Raises:
            ComponentError: it cannot be made, or declares something that is not allowed.
        """
        component, options = self.chosen[kind]
        made = component.factory(options, self.context)
        check_declared(made, self.context.target)
        return made

    def drafting(self, verifier: CalledVerifier) -> tuple[Drafting, DraftStates | None]:
        """Return what drafts, and the states that a screen is fitted to; None where there is no LM head.

        Args:
            verifier: decides over the drafts whose states are noted.
        """
        config, target = self.config, self.context.target
        drafter, costs, build = self.make("drafter"), None, self
        options = self.chosen["drafter"][1]
        if self.context.budgeted:
            costs = KnownCosts.of(config, target, drafter, options, lambda: self.make("gather"))
            build = attrs.evolve(self, context=attrs.evolve(self.context, costs=costs.model))
        if drafter.output_head is None:
            return drafting_without_head(drafter, target, costs), None
        strategy = build.make("vocabulary")
        states = DraftStates(
            target,
            drafter,
            verifier,
            lambda: self.make("gather"),
            config,
            tuple(str(one) for one in attrs.asdict(options).values() if isinstance(one, Path)),
            budgeted=self.context.budgeted,
        )
        bound = bind_drafting(drafter, strategy, lambda: self.make("gather"), config, states, costs)
        return bound, states


def with_defaults(config: RunConfig, target: Target | None = None) -> tuple[RunConfig, ModelDefaults]:
    """Return a config with its sampling parameters settled, and what the model's generation config asks for.

    What verifies depends on the temperature, so this comes first, before a model is loaded.

    Args:
        config: what to run.
        target: the model, if it is loaded; else the files of ``config.model`` are looked at.

    Raises:
        UsageError: the generation config asks for what cannot be had, or a parameter has no effect.
    """
    defaults = ModelDefaults()
    if config.generation_config == "model":
        entries = generation_config_of(config.model) if target is None else target.generation_config
        name = config.model if target is None else target.name
        defaults = ModelDefaults.of(entries, name, config.max_new_tokens)
    return attrs.evolve(config, sampling=defaults.settle(config.sampling)), defaults


def _placed_like(config: RunConfig, target: Target) -> RunConfig:
    """Replace ``auto`` as device and as dtype by what a loaded target has."""
    device = str(target.device) if config.device == AUTO else config.device
    dtype = name_of(target.dtype) if config.dtype == AUTO else config.dtype
    return attrs.evolve(config, device=device, dtype=dtype)


def bind_drafting(
    drafter: Drafter,
    strategy: VocabularyBuilder,
    make_backend: Callable[[], GatherBackend],
    config: RunConfig,
    states: StateSource,
    costs: KnownCosts | None = None,
) -> Drafting:
    """Bind strategy, screen, store, gather backend and drafter to each other.

    Args:
        drafter: proposes the trees.
        strategy: fills the active set.
        make_backend: returns a gather backend; with costs, another one is for the whole LM head.
        config: what they were called.
        states: what a screen is fitted to.
        costs: decide how much is drafted; without them trees have a fixed size.

    Raises:
        UsageError: the strategy's capacity, eviction or pinned ids do not fit.
    """
    strategy = CalledStrategy.of(strategy)
    head, backend = lm_head_of(drafter), make_backend()
    if config.cuda_graph and not backend.capturable:
        raise UsageError(
            f"gather backend {config.gather!r} cannot run in a CUDA graph; allowed: --no-cuda-graph"
        )
    vocabulary = _vocabulary(head, drafter, strategy, backend, config, states)
    drafting = ActiveDrafting(drafter, strategy, vocabulary)
    if costs is not None and isinstance(vocabulary, ScreenedVocabulary):
        costs = costs.screened(vocabulary, drafter.branching)
    prunes = costs is not None and strategy.capacity is not None
    return _planned(drafting, WholeVocabulary(head, make_backend()) if prunes else None, costs)


def drafting_without_head(drafter: Drafter, target: Target, costs: KnownCosts | None) -> Drafting:
    """Return what drafts with a drafter that has no LM head: over every token, so no strategy is asked.

    Args:
        drafter: proposes the trees.
        target: says how many tokens there are.
        costs: decide how much is drafted; without them trees have a fixed size.
    """
    every = EveryToken(target.vocab_size, target.device)
    return _planned(ActiveDrafting(drafter, Unpruned(), every), None, costs)


def _planned(drafting: ActiveDrafting, whole: WholeVocabulary | None, costs: KnownCosts | None) -> Drafting:
    """Return a drafting that goes by costs, where there are any."""
    return drafting if costs is None else PlannedDrafting(drafting, whole, costs.model, costs.keep)


def _vocabulary(
    head: OutputHead,
    drafter: Drafter,
    strategy: CalledStrategy,
    backend: GatherBackend,
    config: RunConfig,
    states: StateSource,
) -> DraftVocabulary:
    """Return what drafts go over: an active set, what a screen finds beside one, or everything."""
    screen = strategy.screen
    if strategy.capacity is None:
        return WholeVocabulary(head, backend)
    rows = strategy.capacity + (0 if screen is None else screen.width)
    if rows < drafter.branching:
        what = f"capacity {strategy.capacity}" if screen is None else f"{rows} candidates"
        raise UsageError(
            f"{what} of strategy {config.strategy!r} is below the branching {drafter.branching} of drafter "
            f"{config.drafter!r}; allowed: at least {drafter.branching}"
        )
    if screen is not None:
        _check_screened(screen, head, backend, config)
    # What it asks for may be more than there is.
    with strategy.owner.declares("its declarations"):
        store = VocabularyStore(
            head,
            backend,
            capacity=strategy.capacity,
            eviction=strategy.eviction,
            pinned_ids=strategy.pinned_ids,
        )
    return store if screen is None else ScreenedVocabulary(store, screen, states)


def _check_screened(screen: Screen, head: OutputHead, backend: GatherBackend, config: RunConfig) -> None:
    """Raise ``UsageError`` for a screen that does not go with the drafter's LM head or the gather backend."""
    rows = head.vocab_size
    if not 1 <= screen.width <= rows:
        raise UsageError(
            f"strategy {config.strategy!r} wants {screen.width} candidates of an LM head of {rows} rows; "
            f"allowed: 1 to {rows}"
        )
    if not backend.scores_candidates:
        raise UsageError(
            f"gather backend {config.gather!r} scores no candidates, which strategy {config.strategy!r} "
            "screens for; allowed: one that does, such as torch"
        )

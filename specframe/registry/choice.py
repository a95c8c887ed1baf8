"""Which components run: names resolved, options built, and everything checked that needs no model."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pluggy
import torch

from specframe.config import AUTO, AUTOREGRESSIVE, OFF, RunConfig
from specframe.contracts.kinds import KINDS, TREE_KINDS, Kind, TargetHeadName, TreeKind
from specframe.contracts.options import build_options
from specframe.contracts.sampling import NEUTRAL
from specframe.errors import UsageError
from specframe.registry.components import Component, Setting
from specframe.registry.manager import build_registry
from specframe.registry.named import check_named
from specframe.registry.placement import find_device, find_dtype, resolve_placement
from specframe.registry.registry import Registry

_log = logging.getLogger(__name__)


def check_config(
    config: RunConfig, manager: pluggy.PluginManager
) -> tuple[RunConfig, dict[Kind, tuple[Component, Any]]]:
    """Check everything that can be checked without the model.

    Returns:
        The config with its device, dtype, verifier and gather backend chosen, and per kind the component
        with its options.

    Raises:
        UsageError: a name, an option or a combination is not allowed.
    """
    registry = build_registry(manager)
    check_named(config, registry)
    config = resolve_placement(config)
    device, dtype = find_device(config.device), find_dtype(config.dtype)
    setting = setting_for(config, device, dtype)
    config = resolve_gather(resolve_verifier(config, registry, setting), registry, setting)
    setting = setting_for(config, device, dtype)
    kinds: tuple[Kind, ...] = ("verifier",)
    if config.strategy != AUTOREGRESSIVE:
        kinds = ("verifier", "vocabulary", "gather", "drafter")
    chosen = {kind: _with_options(config, kind, registry) for kind in kinds}
    check_supported(chosen, setting)
    _check_lossy(config, chosen["verifier"][0], registry, setting)
    if "drafter" in chosen and common_tree(chosen) is None:
        raise _no_common_tree(chosen, setting, registry)
    _check_warm(config, chosen, registry)
    wants_cuda_graph(config, device)
    wants_costs(config, device)
    return config, chosen


def _with_options(config: RunConfig, kind: Kind, registry: Registry) -> tuple[Component, Any]:
    """Return the component that was chosen, and its options."""
    entry = registry.registration(kind, getattr(config, KINDS[kind].setting))
    return entry.component, entry.build_options(config.options.get(kind, {}))


def wants_cuda_graph(config: RunConfig, device: torch.device) -> bool:
    """Return whether the draft step is captured in a CUDA graph, as far as the device is concerned.

    Raises:
        UsageError: it was asked for on a device without such graphs.
    """
    if device.type == "cuda":  # ROCm devices are called so too
        return config.cuda_graph is not False
    if config.cuda_graph:
        raise UsageError(
            f"--cuda-graph needs a CUDA or ROCm device; this is {device.type}; allowed: --no-cuda-graph"
        )
    return False


def wants_costs(config: RunConfig, device: torch.device) -> bool:
    """Return whether measured costs decide how much is drafted.

    A captured draft step has fixed shapes, so on a GPU they have to be asked for.

    Raises:
        UsageError: they were asked for beside a CUDA graph.
    """
    if config.costs == OFF:
        return False
    captured = wants_cuda_graph(config, device)
    if config.costs != AUTO and captured:
        raise UsageError(
            f"--costs {config.costs} lets the size of a draft depend on its content, and a CUDA graph has "
            "fixed shapes; allowed: --no-cuda-graph, or --costs off"
        )
    return not captured


def wanted_target_head(config: RunConfig, device: torch.device) -> TargetHeadName:
    """Return how a run wants the target's first choices found.

    ``auto`` stays where measured costs decide and the target's logits are left as they are; elsewhere it is
    ``full``.
    """
    if config.target_head != AUTO:
        return config.target_head
    as_they_are = all(getattr(config.sampling, name) == value for name, value in NEUTRAL.items())
    return "auto" if as_they_are and wants_costs(config, device) else "full"


def setting_for(config: RunConfig, device: torch.device, dtype: torch.dtype) -> Setting:
    """Return what ``Component.supports`` is asked about."""
    return Setting(
        device=device,
        dtype=dtype,
        vocabulary=config.strategy,
        gather=config.gather,
        drafter=config.drafter,
        verifier=config.verifier,
        sampling=config.sampling,
    )


def resolve_verifier(config: RunConfig, registry: Registry, setting: Setting) -> RunConfig:
    """Replace ``auto`` by a verifier that is exact for every draft tree at the config's temperature.

    Raises:
        UsageError: there is none.
    """
    if config.verifier != AUTO:
        return config
    name = _exact_verifier(registry, setting)
    if name is None:
        known = ", ".join(registry.names("verifier")) or "(none)"
        raise UsageError(
            f"no verifier is exact for every draft tree at temperature {setting.sampling.temperature:g}; "
            f"known: {known}"
        )
    return attrs.evolve(config, verifier=name)


def resolve_gather(config: RunConfig, registry: Registry, setting: Setting) -> RunConfig:
    """Replace ``auto`` by the gather backend of the highest priority that runs here.

    Raises:
        UsageError: none does.
    """
    if config.gather != AUTO:
        return config
    for component in _preferred(registry, "gather", setting):
        reason = component.supports(setting)
        if reason is None:
            _log.info("gather backend on %s: %s", setting.device, component.name)
            return attrs.evolve(config, gather=component.name)
        _log.info("gather backend on %s: not %s, it %s", setting.device, component.name, reason)
    known = ", ".join(registry.names("gather"))
    raise UsageError(f"no gather backend runs on {setting.device}; known: {known}")


def _preferred(registry: Registry, kind: Kind, setting: Setting) -> list[Component]:
    """Return what ``auto`` may take, the highest priority first."""
    components = [registry.get(kind, name) for name in registry.names(kind)]
    ranked = [(priority, one) for one in components if (priority := one.priority(setting)) is not None]
    return [one for _, one in sorted(ranked, key=lambda pair: -pair[0])]


def _exact_verifier(registry: Registry, setting: Setting) -> str | None:
    """Return the verifier that ``auto`` takes, or None."""
    for one in _preferred(registry, "verifier", setting):
        if not one.lossy and {*one.trees} == {*TREE_KINDS} and one.supports(setting) is None:
            return one.name
    return None


def check_supported(chosen: Mapping[Kind, tuple[Component, Any]], setting: Setting) -> None:
    """Raise a ``UsageError`` for a component that cannot run with a setting; it says why."""
    for kind, (component, _) in chosen.items():
        reason = component.supports(setting)
        if reason is not None:
            raise UsageError(f"{KINDS[kind].label} {component.name!r} cannot run here: {reason}")


def _check_lossy(config: RunConfig, verifier: Component, registry: Registry, setting: Setting) -> None:
    if verifier.lossy and not config.allow_lossy:
        exact = _exact_verifier(registry, setting)
        raise UsageError(
            f"verifier {verifier.name!r} is lossy: the output would not be the target's; allow that with "
            f"--allow-lossy{f', or use --verifier {exact}' if exact else ''}"
        )


def _check_warm(config: RunConfig, chosen: Mapping[Kind, tuple[Component, Any]], registry: Registry) -> None:
    """Raise a ``UsageError`` where a drafter is to be kept warm that learns nothing."""
    if config.warm == "off":
        return
    if "drafter" in chosen:
        drafter, options = chosen["drafter"]
        if drafter.learns(options):
            return
    learning = [name for name in registry.names("drafter") if _learns(registry.get("drafter", name))]
    who = f"drafter {config.drafter!r} learns nothing" if "drafter" in chosen else "nothing is drafted"
    raise UsageError(
        f"--warm {config.warm} keeps what a drafter learnt from the target, and {who}; allowed: off"
        + (f", or --drafter {' or '.join(learning)}" if learning else "")
    )


def _learns(drafter: Component) -> bool:
    """Return whether a drafter learns by its defaults."""
    with contextlib.suppress(UsageError):  # options that must be given
        return drafter.learns(build_options(drafter.options, {}, drafter.name))
    return False


def common_tree(chosen: Mapping[Kind, tuple[Component, Any]]) -> TreeKind | None:
    """Return the first kind of draft trees that the verifier verifies and the drafter draws, or None.

    Args:
        chosen: component and options per kind.
    """
    if "drafter" not in chosen:
        return None
    drawn = _drawn_trees(*chosen["drafter"])
    return next((kind for kind in chosen["verifier"][0].trees if kind in drawn), None)


def _drawn_trees(drafter: Component, options: Any) -> Sequence[TreeKind]:
    return drafter.trees if drafter.drafts is None else drafter.drafts(options)


def _no_common_tree(
    chosen: Mapping[Kind, tuple[Component, Any]], setting: Setting, registry: Registry
) -> UsageError:
    """Return the error for a verifier that can make nothing of the drafter's trees, with what would do."""
    verifier, drafter = chosen["verifier"][0], chosen["drafter"][0]
    drawn = _drawn_trees(*chosen["drafter"])

    def fits(other: Component) -> bool:
        supported = other.supports(attrs.evolve(setting, verifier=other.name)) is None
        return supported and not other.lossy and bool(set(drawn) & set(other.trees))

    drawable = [f"-o drafter.tree={kind}" for kind in verifier.trees if kind in drafter.trees][:1]
    others = [registry.get("verifier", name) for name in registry.names("verifier")]
    fitting = " or ".join(other.name for other in others if fits(other))
    remedies = [*drawable, f"--verifier {fitting}"] if fitting else drawable
    draws = f"draws {', '.join(drawn)}" if drawn else "cannot draw the kind that was asked for"
    return UsageError(
        f"verifier {verifier.name!r} verifies draft trees of kind {', '.join(verifier.trees)}, and drafter "
        f"{drafter.name!r} {draws}; use {', or '.join(remedies) or 'another drafter'}"
    )

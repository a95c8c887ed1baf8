"""Whether what a run names is there and takes the options that were set: asked before torch is imported."""

from __future__ import annotations

from specframe.config import AUTO, AUTOREGRESSIVE, RunConfig
from specframe.contracts.kinds import KINDS
from specframe.errors import unknown_name
from specframe.registry.registry import Registry


def check_named(config: RunConfig, registry: Registry) -> None:
    """Raise a ``UsageError`` for a component that nobody registered, or options that it does not take."""
    known = [*registry.names("vocabulary"), AUTOREGRESSIVE]
    if config.strategy not in known:
        raise unknown_name("strategy", config.strategy, known)
    drafts = config.strategy != AUTOREGRESSIVE
    for kind in KINDS.values():
        name = getattr(config, kind.setting)
        if name != AUTO and (drafts or kind.name == "verifier"):
            registry.registration(kind.name, name).build_options(config.options.get(kind.name, {}))

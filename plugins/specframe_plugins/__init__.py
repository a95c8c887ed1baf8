"""The built-in components, registered through the same entry point as a stranger's package.

Components are imported inside the hooks, so that loading this plugin costs nothing until they are called.
"""

from collections.abc import Iterable

from specframe.registry.components import Component
from specframe.registry.hookspecs import hookimpl


@hookimpl
def specframe_vocabularies() -> Iterable[Component]:
    """Return the strategies, in order of their names."""
    from specframe_plugins.vocabularies import (
        clusters,
        exact_screen,
        full,
        lowrank,
        nanospec,
        nanospec_lowrank,
        static,
    )
    from specframe_plugins.vocabularies.retrieval import strategy as retrieval

    modules = (clusters, exact_screen, full, lowrank, nanospec, nanospec_lowrank, retrieval, static)
    return [module.COMPONENT for module in modules]


@hookimpl
def specframe_gather_backends() -> Iterable[Component]:
    """Return the gather backends ``torch``, ``triton`` and ``triton-indexed``."""
    from specframe_plugins.gathers import torch
    from specframe_plugins.gathers.triton import component as triton

    return [torch.COMPONENT, triton.PACKED, triton.INDEXED]


@hookimpl
def specframe_drafters() -> Iterable[Component]:
    """Return the drafters, in order of their names."""
    from specframe_plugins.drafters import aded, combine, logitspec, suffix, token_recycling
    from specframe_plugins.drafters.draft_model import drafter as draft_model
    from specframe_plugins.drafters.eagle import drafter as eagle
    from specframe_plugins.drafters.eagle3 import drafter as eagle3
    from specframe_plugins.drafters.lookup import drafter as lookup
    from specframe_plugins.drafters.mtp import drafter as mtp
    from specframe_plugins.drafters.swift import drafter as swift

    modules = (
        aded,
        combine,
        draft_model,
        eagle,
        eagle3,
        logitspec,
        lookup,
        mtp,
        suffix,
        swift,
        token_recycling,
    )
    return [module.COMPONENT for module in modules]


@hookimpl
def specframe_verifiers() -> Iterable[Component]:
    """Return the verifiers; ``typical`` and ``loose`` are lossy."""
    from specframe_plugins.verifiers import (
        block,
        gbv,
        greedy,
        loose,
        multi_round,
        sampling,
        spectr,
        spectr_gbv,
        typical,
    )

    modules = (block, gbv, greedy, loose, multi_round, sampling, spectr, spectr_gbv, typical)
    return [module.COMPONENT for module in modules]

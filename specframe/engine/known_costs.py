"""The costs that an engine goes by: from a file that the user pins, from the cache, or measured now."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import attrs
import torch

from specframe.config import AUTO, RunConfig
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.costs.file import cached_path, read_cached, read_pinned, write_costs
from specframe.costs.model import CostModel, Setup
from specframe.engine.measuring import measure_costs
from specframe.errors import SpecframeError
from specframe.model.loading import cache_directory
from specframe.model.target import Target
from specframe.ops.contention import watch_contention
from specframe.ops.machine import Machine

_log = logging.getLogger(__name__)


@attrs.frozen(slots=True)
class _Measured:
    """Costs measured now, and whether nothing else ran meanwhile."""

    costs: CostModel
    is_quiet: bool


@attrs.frozen(slots=True)
class KnownCosts:
    """Costs, and what becomes of those that are measured anew in use.

    Attributes:
        model: the costs.
        keep: keeps better ones for the next run; None where the user pinned them.
    """

    model: CostModel
    keep: Callable[[CostModel], None] | None = None

    @classmethod
    def of(
        cls,
        config: RunConfig,
        target: Target,
        drafter: Drafter,
        options: Any,
        make_backend: Callable[[], GatherBackend],
    ) -> Self:
        """Return the costs for a run, measured where they are not known; one line says so.

        Args:
            config: names a file, or asks for the cache.
            target: of the run.
            drafter: likewise.
            options: of the drafter.
            make_backend: returns a gather backend of the run.

        Raises:
            UsageError: the file is of something else.
            SpecframeError: it cannot be written.
        """
        setup = setup_of(config, target, drafter, options)
        if config.costs != AUTO:
            path = Path(config.costs)
            if os.path.lexists(path):
                return cls(read_pinned(path, setup))
            measured = _measured(target, drafter, make_backend, setup)
            write_costs(path, measured.costs)
            return cls(measured.costs)
        path = cached_path(cache_directory(), setup, Machine.of(target.device))

        def keep(costs: CostModel) -> None:
            _log.info("costs of %s measured anew", setup.model)
            with contextlib.suppress(SpecframeError):  # a cache that cannot be written is no reason to fail
                write_costs(path, costs)

        known = read_cached(path)
        if known is not None:
            return cls(known, keep)
        measured = _measured(target, drafter, make_backend, setup)
        if measured.is_quiet:
            keep(measured.costs)
        return cls(measured.costs, keep)


def setup_of(config: RunConfig, target: Target, drafter: Drafter, options: Any) -> Setup:
    """Return what costs are measured of."""
    layers = getattr(target.config, "num_hidden_layers", 0)
    chosen = ", ".join(
        f"{name}={value}" for name, value in sorted(attrs.asdict(options).items()) if value is not None
    )
    shape = f"{drafter.max_depth} levels, {drafter.branching} wide, {drafter.max_nodes} nodes"
    return Setup(
        model=target.name,
        size=f"L={layers}, H={target.hidden_size}, V={target.vocab_size}",
        dtype=str(target.dtype).removeprefix("torch."),
        device=target.device.type,
        forward=target.forward_name,
        drafter=config.drafter,
        draft=f"{shape}; {chosen}" if chosen else shape,
        gather=config.gather,
    )


def _measured(
    target: Target, drafter: Drafter, make_backend: Callable[[], GatherBackend], setup: Setup
) -> _Measured:
    began = perf_counter()
    with watch_contention() as contention:
        costs = measure_costs(target, drafter, make_backend, setup)
    how = "while other programs ran, so not for good" if contention.found else "once"
    print(
        f"specframe: measured what {setup.model} costs in {setup.dtype} on {torch.get_num_threads()} threads "
        f"({perf_counter() - began:.1f} s, {how})",
        file=sys.stderr,
    )
    return _Measured(costs, not contention.found)

"""The costs that an engine goes by: from a file that the user pins, from the cache, or measured now."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import attrs
import torch

from specframe.config import AUTO, RunConfig
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.costs.curve import Curve
from specframe.costs.file import cached_path, check_writable, read_cached, read_pinned, write_costs
from specframe.costs.model import CostModel, Setup
from specframe.engine.drafting.step_budget import StepBudget
from specframe.engine.measuring import measure_costs, measure_head
from specframe.errors import SpecframeError, UsageError
from specframe.model.loading import cache_directory
from specframe.model.target import Target
from specframe.ops.contention import ContentionWatch
from specframe.ops.machine import Machine
from specframe.ops.notes import note
from specframe.ops.progress_line import ProgressLine
from specframe.vocabulary.screened import ScreenedVocabulary

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
            UsageError: the file is of something else, or missing and not called .json.
            SpecframeError: it cannot be written.
        """
        setup = setup_of(config, target, drafter, options)
        if config.costs != AUTO:
            path = Path(config.costs)
            if os.path.lexists(path):
                return cls(read_pinned(path, setup))
            if path.suffix != ".json":
                raise UsageError(
                    f"there is no file of costs {config.costs!r}; allowed: auto, off, or a file, which is "
                    "written where it is missing and its name ends in .json"
                )
            check_writable(path)
            measured = _measured(target, drafter, make_backend, setup, path)
            if os.path.lexists(path):  # another run was faster: both go by its costs
                return cls(read_pinned(path, setup))
            write_costs(path, measured.costs)
            return cls(measured.costs)
        path = cached_path(cache_directory(), setup, Machine.of(target.device))

        def keep(costs: CostModel) -> None:
            _log.info("costs of %s measured anew", setup.model)
            with contextlib.suppress(SpecframeError):  # a cache that cannot be written is no reason to fail
                write_costs(path, costs)

        known = read_cached(path)
        # Costs that keep the head from drafting can be shown wrong by no step, so they are measured again.
        if known is not None and (not known.followed or _drafts(known, drafter)):
            return cls(known, keep)
        measured = _measured(target, drafter, make_backend, setup)
        if measured.is_quiet:
            keep(measured.costs)
        return cls(measured.costs, keep)

    def screened(self, vocabulary: ScreenedVocabulary, branching: int) -> Self:
        """Return the same costs with the head calls of a screen, measured now; they hold for this run.

        Args:
            vocabulary: what drafts go over.
            branching: of the drafter.
        """
        head = vocabulary.output_head
        like = torch.empty(0, dtype=head.dtype, device=head.device)
        one, wide = measure_head(vocabulary.head, head.hidden_size, branching, like)
        vocabulary.begin_draft()
        model = attrs.evolve(
            self.model, head_s=Curve.of({1: one}), wide_head_s=Curve.of({1: wide}), width=branching
        )
        keep = None if self.keep is None else _keep_nothing
        return attrs.evolve(self, model=model, keep=keep)


def _drafts(costs: CostModel, drafter: Drafter) -> bool:
    """Return whether a request with these costs begins with drafts of the head."""
    return StepBudget(costs, costs.context, drafter.max_depth).wants_head()


def _keep_nothing(costs: CostModel) -> None:
    """Do nothing: costs of a screen hold for this run."""


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
        forward=target.forward_name + (f", {target.head_name} head" if target.head_name != "full" else ""),
        drafter=config.drafter,
        draft=f"{shape}; {chosen}" if chosen else shape,
        gather=config.gather,
    )


def _measured(
    target: Target,
    drafter: Drafter,
    make_backend: Callable[[], GatherBackend],
    setup: Setup,
    path: Path | None = None,
) -> _Measured:
    """Return costs measured now, and say so in a line; ``path`` is where the user pins them."""
    began, watch, threads = perf_counter(), ContentionWatch(), torch.get_num_threads()
    with ProgressLine(f"measuring what {setup.model} costs here"):
        costs = measure_costs(target, drafter, make_backend, setup)
    is_quiet = not watch.found
    if is_quiet:
        how = "once"
    elif path is None:
        how = "while other programs ran, so not for good"
    else:
        how = f"while other programs ran; without {path} it is measured again"
    note(
        f"measured what {setup.model} costs in {setup.dtype} on {threads} thread{'s' if threads > 1 else ''} "
        f"({perf_counter() - began:.1f} s, {how})"
    )
    return _Measured(costs, is_quiet)

"""Compares the forwards that can run a target, and lets ``auto`` take the fastest from then on."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from statistics import mean
from time import perf_counter

import attrs
import torch

from specframe.contracts.kinds import ForwardName
from specframe.contracts.tree import DraftTree
from specframe.errors import one_line
from specframe.model.fastest import remember
from specframe.model.loading import open_pretrained
from specframe.model.target import Target
from specframe.ops.contention import ContentionWatch

_log = logging.getLogger(__name__)

_FORWARDS: tuple[ForwardName, ...] = ("lean", "openvino")
_NODES, _CONTEXT, _RUNS = (1, 2, 4, 8, 16), 64, 7
# Of the time of `lean`: what is not faster by more is not worth its memory and its start. Passes of up to so
# many nodes count, each for as much as any other: they are what is verified.
_FASTER, _USUAL_NODES = 0.9, 8


@attrs.frozen(slots=True)
class ForwardTimes:
    """Seconds of a target pass.

    Attributes:
        nodes: of the passes.
        seconds: by forward, one for each number of nodes: the least of several.
        taken: what `auto` takes: openvino where it is faster by a tenth.
        is_quiet: nothing else ran; otherwise nothing is remembered.
    """

    nodes: Sequence[int]
    seconds: Mapping[ForwardName, Sequence[float]]
    taken: ForwardName
    is_quiet: bool


def compare_forwards(spec: str, dtype: torch.dtype) -> ForwardTimes | None:
    """Measure target passes through each forward in turn and remember which one to take.

    While it lasts there is a copy of the weights for each. None where only one of them can run the model.

    Args:
        spec: of the model, as for ``load_pretrained``.
        dtype: of its weights.
    """
    if dtype != torch.float32 or importlib.util.find_spec("openvino") is None:
        return None
    try:
        targets = {name: Target(open_pretrained(spec, dtype), name) for name in _FORWARDS}
    except Exception as error:  # a library of its own may fail in any way
        _log.info("forwards of %s are not compared: %s", spec, one_line(error))
        return None
    if targets["lean"].max_positions < _CONTEXT + max(_NODES):
        return None
    watch = ContentionWatch()
    found = _measured(targets)
    usual = [
        openvino / lean
        for nodes, lean, openvino in zip(_NODES, found["lean"], found["openvino"], strict=True)
        if nodes <= _USUAL_NODES
    ]
    times = ForwardTimes(_NODES, found, "openvino" if mean(usual) < _FASTER else "lean", not watch.found)
    if times.is_quiet:
        remember(targets["lean"].config, dtype, times.taken)
    return times


@torch.inference_mode()
def _measured(targets: Mapping[ForwardName, Target]) -> Mapping[ForwardName, Sequence[float]]:
    """Return the least seconds of a pass over a chain by forward and nodes, all of them in turn."""
    prompt = torch.arange(_CONTEXT) * 31
    for target in targets.values():
        target.begin(_CONTEXT + max(_NODES))
        target.prefill(prompt % target.vocab_size)
    found: dict[ForwardName, list[float]] = {name: [] for name in targets}
    for nodes in _NODES:
        index = torch.arange(nodes)
        ids = (index + 1) % min(target.vocab_size for target in targets.values())
        chain = DraftTree(ids, index - 1, index, torch.zeros(nodes))
        least = dict.fromkeys(targets, float("inf"))
        for run in range(_RUNS):
            for name, target in targets.items():
                began = perf_counter()
                target.tree_pass(chain)
                if run:  # the first one prepares what its shape needs
                    least[name] = min(least[name], perf_counter() - began)
                target.commit(())
        for name, seconds in least.items():
            found[name].append(seconds)
    return found

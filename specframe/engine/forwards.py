"""Compares the forwards that can run a target, and lets ``auto`` take the fastest from then on."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from time import perf_counter

import attrs
import torch

from specframe.contracts.kinds import ForwardName
from specframe.contracts.tree import DraftTree
from specframe.errors import UsageError
from specframe.model.fastest import remember
from specframe.model.loading import open_pretrained
from specframe.model.target import Target

_FORWARDS: tuple[ForwardName, ...] = ("lean", "openvino")
_NODES, _CONTEXT, _RUNS = (1, 2, 4, 8, 16), 64, 7


@attrs.frozen(slots=True)
class ForwardTimes:
    """Seconds of a target pass.

    Attributes:
        nodes: of the passes.
        seconds: by forward, one for each number of nodes: the least of several.
        fastest: over all of them.
    """

    nodes: Sequence[int]
    seconds: Mapping[ForwardName, Sequence[float]]
    fastest: ForwardName


def compare_forwards(spec: str, dtype: torch.dtype) -> ForwardTimes | None:
    """Measure target passes through each forward in turn and remember which is the fastest.

    While it lasts there is a copy of the weights for each. None where only one of them can run the model.

    Args:
        spec: of the model, as for ``load_pretrained``.
        dtype: of its weights.
    """
    if dtype != torch.float32 or importlib.util.find_spec("openvino") is None:
        return None
    try:
        targets = {name: Target(open_pretrained(spec, dtype), name) for name in _FORWARDS}
    except UsageError:  # one of them cannot run it
        return None
    found = _measured(targets)
    fastest = min(_FORWARDS, key=lambda name: sum(found[name]))
    remember(targets["lean"].config, dtype, fastest)
    return ForwardTimes(_NODES, found, fastest)


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
        chain = DraftTree(index + 1, index - 1, index, torch.zeros(nodes))
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

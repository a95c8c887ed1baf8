"""Compares the ways to find a target's first choices, and lets ``auto`` take the fastest from then on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from time import perf_counter

import attrs
import torch
from torch import Tensor

from specframe.contracts.kinds import TargetHeadName
from specframe.contracts.tree import DraftTree
from specframe.model.fastest import remember_head
from specframe.model.loading import open_pretrained
from specframe.model.target import ROOM, Target
from specframe.model.target_head import ScreenedTargetHead
from specframe.ops.contention import ContentionWatch
from specframe.ops.free_memory import free_bytes
from specframe.request.tasks import built_in_tasks

_log = logging.getLogger(__name__)

# Weights of an LM head below which a screen has little to win.
_WORTH = 2**24
_NODES, _CONTEXT, _RUNS = (1, 4, 8), 32, 9
# Of the time of a pass with all logits: what is not faster by more is not worth its memory.
_FASTER = 0.9
# Target passes, about two hundred tokens, within which the start that it delays is paid back.
_PAYS_WITHIN = 100
# How many of the target's first choices strategies learn from, as a rule.
_HARVESTED = 3


@attrs.frozen(slots=True)
class HeadTimes:
    """Seconds of a target pass.

    Attributes:
        nodes: of the passes.
        seconds: by head, one for each number of nodes: the median of several, all heads in turn.
        taken: what `auto` takes: exact-screen where it is faster by a tenth, and soon pays for its start.
        extra_bytes: of memory that a screen takes.
        build_s: seconds that making one adds to a start.
        is_quiet: nothing else ran; otherwise nothing is remembered.
    """

    nodes: Sequence[int]
    seconds: Mapping[TargetHeadName, Sequence[float]]
    taken: TargetHeadName
    extra_bytes: int
    build_s: float
    is_quiet: bool


def compare_heads(spec: str, dtype: torch.dtype) -> HeadTimes | None:
    """Measure target passes with each head in turn and remember which one to take.

    None where a screen has little to win, or there is no memory for one.

    Args:
        spec: of the model, as for ``load_pretrained``.
        dtype: of its weights.
    """
    target = Target(open_pretrained(spec, dtype))
    head, extra = target.output_head, ScreenedTargetHead.extra_bytes(target.output_head)
    if head.vocab_size * head.hidden_size < _WORTH or target.max_positions < _CONTEXT + max(_NODES):
        return None
    if (free_bytes() or 0) < ROOM * extra:
        _log.info("heads of %s are not compared: there is no memory for a screen", spec)
        return None
    began = perf_counter()
    target.screen_head()
    build_s, watch = perf_counter() - began, ContentionWatch()
    found = _measured(target, _text(target))
    pairs = list(zip(found["exact-screen"], found["full"], strict=True))
    ratio = fmean(screened / full for screened, full in pairs)
    saved = fmean(full - screened for screened, full in pairs)
    pays = ratio < _FASTER and build_s < _PAYS_WITHIN * saved
    taken: TargetHeadName = "exact-screen" if pays else "full"
    times = HeadTimes(_NODES, found, taken, extra, build_s, not watch.found)
    if times.is_quiet:
        remember_head(target.config, dtype, target.forward_name, taken)
    return times


def _text(target: Target) -> Tensor:
    """Return ids of built-in prompts, as many as are measured with.

    Whether a proof holds depends on the states, so the text is a real one.
    """
    wanted, ids = _CONTEXT + _RUNS * max(_NODES), list[int]()
    for task in built_in_tasks():
        ids += target.tokenizer(task.turns[0], add_special_tokens=False)["input_ids"]
        if len(ids) >= wanted:
            break
    return torch.tensor(ids * (wanted // max(len(ids), 1) + 1))[:wanted] % target.vocab_size


@torch.inference_mode()
def _measured(target: Target, text: Tensor) -> Mapping[TargetHeadName, Sequence[float]]:
    """Return the median seconds of a pass over a chain of a text, by head and nodes."""
    target.begin(_CONTEXT + max(_NODES))
    target.prefill(text[:_CONTEXT])
    found: dict[TargetHeadName, list[float]] = {"full": [], "exact-screen": []}
    for nodes in _NODES:
        index, spent = torch.arange(nodes), {name: list[float]() for name in found}
        for run, ids in enumerate(text[_CONTEXT:].split(max(_NODES))):
            chain = DraftTree(ids[:nodes], index - 1, index, torch.zeros(nodes))
            for name, seconds in spent.items():
                began = perf_counter()
                output = target.tree_pass(chain, whole=name == "full").output
                output.best()
                output.top_ids(_HARVESTED)
                if run:  # the first one prepares what its shape needs
                    seconds.append(perf_counter() - began)
                target.commit(())
        for name, seconds in spent.items():
            found[name].append(median(seconds))
    return found

"""What both model runners do once a draft model is loaded."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from vllm.logger import init_logger

from specframe.errors import SpecframeError
from specframe_vllm.assembly import assemble
from specframe_vllm.drafting import ActiveDrafting

_log = init_logger("vllm.specframe")

# By proposer of V1 or speculator of V2: what its engine's settings ask for.
_drafting: WeakKeyDictionary[Any, ActiveDrafting] = WeakKeyDictionary()


def attach(drafter: Any) -> ActiveDrafting | None:
    """Put the LM head of a drafter's model over active sets, as its engine's settings say.

    Args:
        drafter: a proposer or speculator that has loaded its model.

    Returns:
        What drafts now; None where vLLM goes on to do so itself.
    """
    try:
        drafting = assemble(drafter.vllm_config, drafter.model, drafter.device)
    except SpecframeError as error:
        _log.error("specframe: %s", error)  # vLLM prints a traceback of its own
        raise
    if drafting is None:
        return None
    drafter.model.get_top_tokens = drafting.head.get_top_tokens
    drafter.model.compute_logits = drafting.head.compute_logits
    # Greedy drafts then ask for tokens, not for logits.
    drafter.use_local_argmax_reduction = True
    _drafting[drafter] = drafting
    return drafting


def attached(drafter: Any) -> ActiveDrafting | None:
    """Return what drafts for a proposer or speculator; None where vLLM does so itself."""
    return None if drafter is None else _drafting.get(drafter)

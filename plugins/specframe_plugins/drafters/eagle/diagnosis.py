"""What ``specframe doctor`` says about an EAGLE head: whether it fits the target, and whether it predicts it.

A head whose tensors are mapped wrongly loads without complaint and then has about one token in a hundred
accepted. So the head also reads a text, one true token ahead of every prediction, and its first choices are
compared with the target's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from specframe.components import DoctorRequest, Finding
from specframe.errors import CheckpointError, UsageError
from specframe.target import Target
from specframe_plugins.drafters.eagle.checkpoint import find_head, load_head
from specframe_plugins.drafters.eagle.model import EagleHead

# Measured with SmolLM2: the head that ships reaches 34 %, one of a few minutes' training 22 %, and heads with
# swapped or permuted inputs 3 % at most.
MINIMUM_AGREEMENT = 0.1

PROBE_TEXT = """A lighthouse is a tower with a bright lamp at the top. It is built near the sea, and its light
shows ships where the coast is. In the past, a keeper lived in the tower and lit the lamp every evening. The
keeper had to clean the glass, carry oil up the stairs, and stay awake when there was fog. Today, most
lighthouses work without a keeper. The lamp is turned on by a machine, and ships use satellites to find
their way. Many people still like to visit lighthouses, because they are beautiful and because they tell us
something about the history of the coast."""


def diagnose(request: DoctorRequest) -> Iterator[Finding]:
    """Check a head against the target, if there is one."""
    target = request.target
    if target is None:
        return
    subject = "EAGLE head"
    try:
        path = request.checkpoint or find_head(target)
        head = load_head(path, target)
    except CheckpointError as error:
        yield Finding(subject, False, str(error))
    except UsageError as error:
        # A target without a head still runs, with another drafter or with none.
        yield Finding(subject, None, str(error))
    else:
        yield Finding(subject, True, _describe(head, path))
        yield _probe(head, target)


def agreement(head: EagleHead, target: Target, text: str) -> tuple[float, int]:
    """Return the share of predictions whose first choice is the target's, and how many there were."""
    ids = torch.tensor(
        target.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"], device=target.device
    )[: target.max_positions]
    target.begin(len(ids))
    prefill = target.prefill(ids, harvest_topk=1, harvest_window=len(ids))
    assert prefill.topk_ids is not None
    with torch.inference_mode():
        embeddings = target.embed_tokens(ids[1:]).to(target.dtype)
        positions = torch.arange(len(ids) - 1, device=target.device)
        predicted = head(embeddings[None], prefill.features[None, :-1], positions[None])[0]
        chosen = target.output_head.logits(predicted).argmax(dim=-1)
    return float((chosen == prefill.topk_ids[1:, 0]).float().mean()), len(chosen)


def _describe(head: EagleHead, path: Path) -> str:
    if head.config.tokenizer_fingerprint is None:
        return f"{path}: sizes and values fit; it does not say which tokenizer it was trained with"
    return f"{path}: sizes, values and tokenizer fit"


def _probe(head: EagleHead, target: Target) -> Finding:
    share, count = agreement(head, target, PROBE_TEXT)
    message = f"on {count} tokens of text its first choice is the target's {share:.0%} of the time"
    if share >= MINIMUM_AGREEMENT:
        return Finding("EAGLE head's predictions", True, message)
    message += (
        f", below {MINIMUM_AGREEMENT:.0%}: it was made for other weights, or its tensors are mapped wrongly"
    )
    return Finding("EAGLE head's predictions", False, message)

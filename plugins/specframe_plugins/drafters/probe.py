"""Whether a drafter predicts its target at all, measured on a fixed text.

Tensors or token ids that are mapped wrongly load without complaint, and then about one token in a hundred is
accepted. So a drafter reads a text, one true token ahead of every prediction, and its first choices are
compared with the target's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import attrs
import torch
from torch import Tensor

from specframe.model.target import Target
from specframe.registry.components import Finding

_log = logging.getLogger(__name__)

# Returns the drafter's first choices after the second of n + 1 tokens and after each later one [n], given the
# tokens [n + 1] and the target's features at the first n [n, F].
Predict = Callable[[Tensor, Tensor], Tensor]

# Measured with SmolLM2: the head that ships reaches 38 % (`specframe doctor`), one of a few minutes' training
# 22 %, and heads with swapped or permuted inputs 3 % at most.
MINIMUM_AGREEMENT = 0.1

_MISMATCH = "it was made for other weights, or its tensors are mapped wrongly"

PROBE_TEXT = """A lighthouse is a tower with a bright lamp at the top. It is built near the sea, and its light
shows ships where the coast is. In the past, a keeper lived in the tower and lit the lamp every evening. The
keeper had to clean the glass, carry oil up the stairs, and stay awake when there was fog. Today, most
lighthouses work without a keeper. The lamp is turned on by a machine, and ships use satellites to find
their way. Many people still like to visit lighthouses, because they are beautiful and because they tell us
something about the history of the coast."""


# Whether heads are loaded that are known to be the target's, however little they have learnt.
_UNWARNED = ContextVar("unwarned", default=False)


@contextmanager
def unwarned() -> Iterator[None]:
    """Warn of no head that predicts too little: one that was trained just now is for no other weights."""
    token = _UNWARNED.set(True)
    try:
        yield
    finally:
        _UNWARNED.reset(token)


@attrs.frozen(slots=True)
class Probe:
    """How often a drafter's first choice was the target's.

    Attributes:
        share: of the predictions.
        count: how many predictions there were.
    """

    share: float
    count: int

    def finding(self, subject: str, why: str = _MISMATCH) -> Finding:
        """Return what the doctor says about ``subject``; ``why`` is what too little agreement means."""
        message = (
            f"on {self.count} tokens of text its first choice is the target's {self.share:.0%} of the time"
        )
        if self.share >= MINIMUM_AGREEMENT:
            return Finding(subject, True, message)
        return Finding(subject, False, f"{message}, below {MINIMUM_AGREEMENT:.0%}: {why}")


@torch.inference_mode()
def probe(predict: Predict, target: Target, feature_layers: tuple[int, ...] = ()) -> Probe:
    """Return how often a drafter agrees with the target on ``PROBE_TEXT``.

    Args:
        predict: the drafter's first choices.
        target: the target; the request in progress is lost.
        feature_layers: whose inputs are the features.
    """
    ids = torch.tensor(
        target.tokenizer(PROBE_TEXT, add_special_tokens=False, verbose=False)["input_ids"],
        device=target.device,
    )[: target.max_positions]
    target.begin(len(ids), feature_layers=feature_layers)
    prefill = target.prefill(ids, harvest_topk=1, harvest_window=len(ids))
    assert prefill.top is not None
    agrees = predict(ids, prefill.features[:-1]) == prefill.top.ids[1:, 0]
    return Probe(float(agrees.float().mean()), len(agrees))


def warn_unless_it_predicts(
    subject: str,
    predict: Predict,
    target: Target,
    feature_layers: tuple[int, ...] = (),
    why: str = _MISMATCH,
) -> None:
    """Log a warning where a drafter that was just loaded does not predict its target."""
    if _UNWARNED.get():
        return
    finding = probe(predict, target, feature_layers).finding(subject, why)
    if not finding.ok:
        _log.warning("%s: %s", finding.subject, finding.message)

"""The loss: a softmax over part of the vocabulary, and the distance between features.

**Why part of the vocabulary.** The LM head is frozen, so no row of it needs a gradient, and it is the
largest matrix in sight: over the full vocabulary of a small target it costs more than the head that is
being trained, twice (once for the target's probabilities). A batch therefore uses the rows of

* the N tokens that are most frequent in the training data (they carry nearly all of the target's
probability),
* every token that occurs in the batch (so that no label is ever missing),
* a few tokens drawn uniformly from the rest, new ones each time.

The last group stands for the whole rest: with R drawn from a rest of M tokens, each counts M / R times in
the sum of the softmax (sampled softmax, Jean et al., arXiv 1412.2007, section 3.1; importance weights for
a uniform proposal). That keeps the head from giving rare tokens large logits that nothing would ever push
down, which matters because the `full` strategy drafts over all of them. With N = V the loss is the full
softmax exactly.

**Targets.** A share is the target's distribution (what sampling and the draft tree's ordering need), the rest
its argmax (what greedy acceptance needs). Smooth-L1 between features, as in EAGLE (arXiv 2401.15077,
section 4.2), keeps deeper steps on track.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from attrs import evolve, frozen
from torch import Tensor

from specframe.contracts.lm_head import OutputHead


@frozen
class Subset:
    """Rows of the LM head that one batch uses.

    Attributes:
        ids: [K] int64.
        log_weights: [K], log of how many tokens of the vocabulary each one stands for.
    """

    ids: Tensor
    log_weights: Tensor

    def to(self, device: torch.device) -> Subset:
        """The same on another device."""
        return Subset(self.ids.to(device), self.log_weights.to(device))


def rows_of(head: OutputHead, ids: Tensor) -> OutputHead:
    """The rows of an LM head that belong to ids [K]."""
    bias = None if head.bias is None else head.bias[ids]
    return evolve(head, weight=head.weight[ids], bias=bias, product=None)


def choose_subset(
    frequent: Tensor, present: Tensor, random_count: int, vocab_size: int, generator: torch.Generator
) -> Subset:
    """Chooses the rows for one batch.

    Args:
        frequent: most frequent ids [N].
        present: ids of the batch, any shape.
        random_count: how many to draw from the rest.
        vocab_size: V.
        generator: source of the draw.
    """
    chosen = torch.zeros(vocab_size, dtype=torch.bool)
    chosen[frequent] = True
    chosen[present.flatten()] = True
    fixed, rest = chosen.nonzero()[:, 0], (~chosen).nonzero()[:, 0]
    count = min(random_count, len(rest))
    if count == 0:
        return Subset(fixed, torch.zeros(len(fixed)))
    drawn = rest[torch.randperm(len(rest), generator=generator)[:count]]
    log_weights = torch.zeros(len(fixed) + count)
    log_weights[len(fixed) :] = torch.tensor(len(rest) / count).log()
    return Subset(torch.cat((fixed, drawn)), log_weights)


@frozen
class Targets:
    """What the head is trained towards, at n positions.

    Attributes:
        features: the target's features [n, H], float32.
        probs: the target's distribution over the subset, mixed with its argmax [n, K].
        log_weights: of the subset [K].
    """

    features: Tensor
    probs: Tensor
    log_weights: Tensor


@torch.no_grad()
def make_targets(part: OutputHead, subset: Subset, features: Tensor, soft_share: float) -> Targets:
    """Evaluates the target's distribution over the subset.

    Args:
        part: the rows of the target's LM head that belong to the subset.
        subset: which they are.
        features: the target's [n, H].
        soft_share: of the distribution; the rest is the argmax.
    """
    # In float32: half-precision logits tie, and the argmax would be the lower id instead of the better one.
    logits = part.logits(features.to(part.weight.dtype)).float()
    probs = (logits + subset.log_weights).softmax(dim=-1).mul_(soft_share)
    best = logits.argmax(dim=-1, keepdim=True)
    probs.scatter_add_(1, best, torch.full_like(best, 1 - soft_share, dtype=probs.dtype))
    return Targets(features.float(), probs, subset.log_weights)


def head_loss(
    predicted: Tensor,
    rows: OutputHead,
    targets: Targets,
    weights: Tensor,
    feature_scale: float,
    feature_weight: float,
) -> Tensor:
    """Weighted mean over positions of cross-entropy plus smooth-L1.

    Args:
        predicted: what the LM head is applied to [n, H].
        rows: of the LM head that proposes, for the subset.
        targets: what it should propose.
        weights: of the positions [n].
        feature_scale: root mean square of the target's features; makes the distance independent of their
            scale.
        feature_weight: of the distance; 0 for heads that predict no features.
    """
    logits = rows.logits(predicted.to(rows.weight.dtype)).float() + targets.log_weights
    entropy = F.cross_entropy(logits, targets.probs, reduction="none")
    if feature_weight == 0:
        return (weights * entropy).sum() / weights.sum()
    distance = F.smooth_l1_loss(
        predicted.float() / feature_scale, targets.features / feature_scale, reduction="none"
    ).mean(dim=-1)
    return (weights * (entropy + feature_weight * distance)).sum() / weights.sum()

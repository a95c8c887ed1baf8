"""What runs the target's layers, whatever code it is."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import attrs
import torch
from torch import Tensor

from specframe.errors import UsageError
from specframe.model.supported import FULL_ATTENTION, SLIDING_ATTENTION


class Forward(Protocol):
    """The target's layers over a KV cache, one sequence at a time."""

    @property
    def committed(self) -> int:
        """Positions committed."""

    def begin(self, capacity: int, keep: int = 0) -> None:
        """Make room for ``capacity`` positions and forget all but the first ``keep``."""

    def run(
        self, ids: Tensor, positions: Tensor, mask: Tensor, feature_layers: tuple[int, ...] = ()
    ) -> tuple[Tensor, Tensor]:
        """Return the last hidden states [n, H] and the features [n, F] of n new tokens.

        They are the last n of m nodes: those before them were run since the last commit and are still there.

        Args:
            ids: of the new tokens [n] int64.
            positions: of all nodes [m] int64, from ``committed`` on.
            mask: which nodes the new tokens see [n, m] bool; all see the committed positions.
            feature_layers: layers whose inputs are the features, side by side; the number of layers stands
                for the output of the last one. With none, the last hidden states are the features.
        """

    def commit(self, path: tuple[int, ...]) -> None:
        """Keep the nodes of ``path``, in order, and forget the other nodes run since the last commit."""


@attrs.frozen(slots=True)
class LeftOut:
    """Sublayers that a pass leaves out: what they would have read goes on as it is.

    Attributes:
        attention: layers without their attention.
        mlp: layers without their MLP.
    """

    attention: frozenset[int] = frozenset()
    mlp: frozenset[int] = frozenset()


@runtime_checkable
class PartialForward(Forward, Protocol):
    """A forward that can leave out parts of its layers."""

    def why_whole(self) -> str | None:
        """Return why no part of this model's layers can be left out, or None."""

    def run_partly(
        self, ids: Tensor, positions: Tensor, mask: Tensor, left_out: LeftOut, context: int | None = None
    ) -> Tensor:
        """Return the last hidden states [n, H] of n new tokens without some sublayers.

        It is ``Forward.run`` otherwise. Nodes that were run before with other sublayers are of no use to
        these, and nothing of them may be committed.

        Args:
            ids: of the new tokens [n] int64.
            positions: of all nodes [m] int64, from ``context`` on.
            mask: which nodes the new tokens see [n, m] bool.
            left_out: what is left out.
            context: how many of the committed positions they see; None for all.
        """


def attention_windows(config: Any) -> dict[str, int | None]:
    """Return the sliding window per layer type; the key "" stands for models with one type of layer.

    Raises:
        UsageError: attention of a type that is not known.
    """
    layer_types = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if not layer_types:
        return {"": window}
    known: dict[str, int | None] = {FULL_ATTENTION: None, SLIDING_ATTENTION: window}
    strange = sorted(set(layer_types) - set(known))
    if strange:
        raise UsageError(f"attention of type {strange[0]!r} is not supported; allowed: {', '.join(known)}")
    return {kind: known[kind] for kind in dict.fromkeys(layer_types)}


def causal_mask(n: int, device: torch.device) -> Tensor:
    """Return the mask [n, n] of n tokens in a row, each of which sees those before it."""
    return torch.ones(n, n, dtype=torch.bool, device=device).tril()


def append(forward: Forward, ids: Tensor, feature_layers: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    """Run and commit n tokens in a row; return their last hidden states [n, H] and features [n, F]."""
    n, start = len(ids), forward.committed
    positions = torch.arange(start, start + n, device=ids.device)
    states = forward.run(ids, positions, causal_mask(n, ids.device), feature_layers)
    forward.commit(tuple(range(n)))
    return states

"""Which code runs the target's layers: the model's own, or the lean forward where it fits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from specframe.contracts.kinds import ForwardName
from specframe.errors import UsageError
from specframe.model.lean.architecture import why_not
from specframe.model.lean.forward import LeanForward
from specframe.model.lean.parts import ModelParts
from specframe.model.transformers_forward import TransformersForward

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What `auto` spends on the lean forward's copy of the weights.
_COPY_AT_MOST_BYTES = 4 << 30

_log = logging.getLogger(__name__)


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


def candidates(
    model: PreTrainedModel, name: str, chosen: ForwardName
) -> Iterator[tuple[ForwardName, Callable[[], Forward]]]:
    """Yield the forwards to try for a model, the best first; the model's own comes last.

    Args:
        model: the model.
        name: how users call it.
        chosen: ``lean`` or ``transformers``; ``auto`` takes what is fastest here.

    Raises:
        UsageError: what was chosen cannot run this model, or its attention is unknown.
    """
    windows = attention_windows(model.config.get_text_config())
    if chosen != "transformers":
        reason = why_not(model)
        if chosen == "lean":
            if reason is not None:
                raise UsageError(f"target forward 'lean' cannot run {name}: {reason}; allowed: transformers")
            yield "lean", lambda: LeanForward(ModelParts(model), windows)
            return
        reason = reason or _why_not_by_default(model)
        if reason is None:
            yield "lean", lambda: LeanForward(ModelParts(model), windows)
        else:
            _log.info("target forward of %s: not lean, %s", name, reason)
    yield "transformers", lambda: TransformersForward(model, windows)


def _why_not_by_default(model: PreTrainedModel) -> str | None:
    """Return why ``auto`` leaves a model alone that the lean forward could run."""
    if model.device.type != "cpu":
        return "which has not been measured on this device"
    if sum(parameter.nbytes for parameter in model.parameters()) > _COPY_AT_MOST_BYTES:
        return f"whose copy of the weights would take more than {_COPY_AT_MOST_BYTES >> 30} GiB"
    return None


def attention_windows(config: Any) -> dict[str, int | None]:
    """Return the sliding window per layer type; the key "" stands for models with one type of layer.

    Raises:
        UsageError: attention of a type that is not known.
    """
    layer_types = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if not layer_types:
        return {"": window}
    known: dict[str, int | None] = {"full_attention": None, "sliding_attention": window}
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

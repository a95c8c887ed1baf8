"""Leaves attentions and MLPs out of a transformers decoder for the length of a pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from specframe.errors import UsageError
from specframe.model.decoder_layers import name_of_layers
from specframe.model.forward import LeftOut

# What decoder layers of transformers call them.
_ATTENTIONS = ("self_attn", "attention", "self_attention", "attn")
_MLPS = ("mlp", "feed_forward", "block_sparse_moe")


class Sublayers:
    """The attentions and MLPs of a decoder; what one that is left out adds is zero.

    Args:
        decoder: one that ``why_not`` has nothing against.
        count: of its layers.
    """

    def __init__(self, decoder: nn.Module, count: int) -> None:
        layers = getattr(decoder, name_of_layers(decoder, count))
        self._attentions = [_one_of(layer, _ATTENTIONS) for layer in layers]
        self._mlps = [_one_of(layer, _MLPS) for layer in layers]
        # How many values the output of each is a tuple of; 0 for a tensor alone.
        self._tuples: dict[nn.Module, int] = {}

    @staticmethod
    def why_not(decoder: nn.Module, count: int) -> str | None:
        """Return why nothing can be left out of a decoder of so many layers, or None."""
        try:
            name = name_of_layers(decoder, count)
        except UsageError as error:
            return str(error)
        for layer in getattr(decoder, name):
            for what, names in (("attention", _ATTENTIONS), ("MLP", _MLPS)):
                if _one_of(layer, names) is None:
                    return f"{type(layer).__name__} has no {what} called {', '.join(names)}"
        return None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Learn from a whole pass what each of them returns."""

        def note(module: nn.Module, args: Any, output: Any) -> None:
            self._tuples[module] = len(output) if isinstance(output, tuple) else 0

        handles = [module.register_forward_hook(note) for module in (*self._attentions, *self._mlps)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def without(self, left_out: LeftOut) -> Iterator[None]:
        """Leave sublayers out of what is run inside; ``watched`` comes before."""
        modules = [self._attentions[index] for index in sorted(left_out.attention)]
        modules += [self._mlps[index] for index in sorted(left_out.mlp)]
        with ExitStack() as stack:
            for module in modules:
                stack.enter_context(_forward_of(module, partial(_nothing, self._tuples[module])))
            yield


def _one_of(layer: nn.Module, names: tuple[str, ...]) -> Any:
    return next((part for name in names if isinstance(part := getattr(layer, name, None), nn.Module)), None)


@contextmanager
def _forward_of(module: nn.Module, forward: Any) -> Iterator[None]:
    """Give a module another forward, and then the one back that it had."""
    own = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own


def _nothing(values: int, *args: Any, **kwargs: Any) -> Any:
    """Return the output of a sublayer that adds nothing to its input [1, n, H]: a tuple of so many values."""
    hidden = args[0] if args else kwargs["hidden_states"]
    added = torch.zeros_like(hidden)
    return (added, *[None] * (values - 1)) if values else added

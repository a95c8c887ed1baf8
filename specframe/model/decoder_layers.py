"""Where a decoder keeps its layers, whatever its modules are called."""

from __future__ import annotations

from torch import nn

from specframe.errors import UsageError

_LAYERS = ("layers", "h")
_LAST_NORMS = ("norm", "ln_f", "final_layernorm", "final_layer_norm", "layer_norm", "layernorm")


def name_of_layers(decoder: nn.Module, count: int) -> str:
    """Return which attribute of a decoder is the list of its ``count`` layers.

    Raises:
        UsageError: none is.
    """
    for name in _LAYERS:
        layers = getattr(decoder, name, None)
        if isinstance(layers, nn.ModuleList) and len(layers) == count:
            return name
    raise UsageError(
        f"{type(decoder).__name__} does not keep its {count} layers in a list of its own; allowed here: "
        f"decoders that call it {' or '.join(_LAYERS)}"
    )


def last_norm(decoder: nn.Module) -> nn.Module:
    """Return the norm of what the last layer returns.

    Raises:
        UsageError: there is none by a name that is known here.
    """
    for name in _LAST_NORMS:
        norm = getattr(decoder, name, None)
        if isinstance(norm, nn.Module):
            return norm
    raise UsageError(f"{type(decoder).__name__} has no last norm; allowed here: {', '.join(_LAST_NORMS)}")

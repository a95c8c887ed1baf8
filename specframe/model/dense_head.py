"""The LM head of a model as a matrix, also where it is quantized or adapted."""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from specframe.errors import UsageError, one_line

# Rows of the identity that a module is given at once: bounds the memory to as many times V.
_ROWS_AT_ONCE = 32


def is_plain(tensor: Tensor) -> bool:
    """Return whether a weight is a matrix of numbers as it stands: no quantized one, no subclass."""
    return type(tensor) in (Tensor, nn.Parameter) and tensor.is_floating_point()


def why_not_row_by_row(model: nn.Module) -> str | None:
    """Return why what a model says of a token depends on the other tokens of a pass, or None.

    PyTorch's dynamic quantization scales the inputs of a linear by their largest one, whosever it is.
    """
    dynamic = sys.modules.get("torch.ao.nn.quantized.dynamic")  # where it is not, no model has it
    if dynamic is None:
        return None
    for name, module in model.named_modules():
        if isinstance(module, dynamic.Linear):
            return (
                f"quantizes the inputs of {name} all at once, so that what it says of a token depends on "
                "what else is read with it; allowed: quantized weights, or inputs quantized token by token"
            )
    return None


def dense_linear(
    module: nn.Module, hidden_size: int, dtype: torch.dtype, name: str
) -> tuple[Tensor, Tensor | None]:
    """Return weight [V, H] and bias [V] of an LM head.

    One that is no plain linear is asked for the rows of the identity: a quantized matrix or an adapter beside
    one is then as many numbers as it stands for.

    Args:
        module: the LM head.
        hidden_size: H.
        dtype: of what it reads.
        name: how users call the model.

    Raises:
        UsageError: it is not one linear map from H to V.
    """
    if (
        isinstance(module, nn.Linear)
        and is_plain(module.weight)
        and type(module).forward is nn.Linear.forward
    ):
        return module.weight.detach(), None if module.bias is None else module.bias.detach()
    device = next(
        (tensor.device for tensor in (*module.parameters(), *module.buffers())), torch.device("cpu")
    )
    try:
        bias = module(torch.zeros(1, hidden_size, dtype=dtype, device=device))[0]
        rows = torch.eye(hidden_size, dtype=dtype, device=device).split(_ROWS_AT_ONCE)
        weight = torch.cat([module(part) - bias for part in rows]).T.contiguous()
    except Exception as error:  # code of any module
        raise UsageError(
            f"{name} has no linear LM head ({type(module).__name__}: {one_line(error)}); allowed: "
            "decoder-only language models"
        ) from error
    return weight, bias if bool(bias.any()) else None

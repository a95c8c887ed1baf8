"""A model that belongs to somebody else: told apart from what it was, and left as it was found."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

# Numbers of each tensor that are looked at where they are: sums alone do not show rows that changed places.
_LOOKED_AT = 8
_WORDS = ((8, torch.int64), (4, torch.int32), (2, torch.int16), (1, torch.uint8))


@torch.no_grad()
def state_of(model: nn.Module) -> Hashable:
    """Return what changes when the model does; its weights are read once, as for a token.

    That is its modules, their hooks and forwards, which adapters are on, and of each parameter and buffer
    where it is, how often it was changed in place, the sum of its bits and a few numbers: ``.data`` is edited
    without a trace.
    """
    modules = tuple(
        (
            name,
            id(module),
            module.__dict__.get("forward"),
            type(module).forward,
            tuple(module._forward_hooks),
            tuple(module._forward_pre_hooks),
            _adapters(module),
        )
        for name, module in model.named_modules()
    )
    named = chain(model.named_parameters(), model.named_buffers())
    tensors = [(name, part) for name, tensor in named for part in _parts(tensor)]
    versions = tuple(
        (name, id(tensor), tensor.data_ptr(), _version(tensor), tensor.dtype, tuple(tensor.shape))
        for name, tensor in tensors
        if tensor.layout == torch.strided and tensor.device.type != "meta"
    )
    return modules, versions, _numbers([tensor for _, tensor in tensors])


def has_hooks(model: nn.Module) -> bool:
    """Return whether anything listens to a module or has another forward than its class."""
    return any(
        module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__
        for module in model.modules()
    )


@contextmanager
def evaluating(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Put modules into evaluation mode, and each of them back into its own afterwards."""
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _adapters(module: nn.Module) -> Hashable:
    """Return which adapters of a module are on: PEFT keeps them in these attributes."""
    names = ("disable_adapters", "merged_adapters", "active_adapters", "scaling")
    return tuple(repr(getattr(module, name)) for name in names if hasattr(module, name))


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    """Yield the plain tensors that a tensor is made of: itself, or what a quantized one holds."""
    if not hasattr(tensor, "__tensor_flatten__"):
        yield tensor
        return
    for name in tensor.__tensor_flatten__()[0]:
        yield from _parts(getattr(tensor, name))


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _numbers(tensors: list[Tensor]) -> Hashable:
    """Return of each tensor the sum of its bits and a few numbers, in one read per device."""
    found: dict[torch.device, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.layout == torch.strided and tensor.device.type != "meta":
            words = _as_words(tensor.detach())
            some = words[:: max(len(words) // _LOOKED_AT, 1)][:_LOOKED_AT].to(torch.int64)
            found.setdefault(tensor.device, []).extend((words.sum(dtype=torch.int64).reshape(1), some))
    return tuple(tuple(torch.cat(parts).tolist()) for parts in found.values())


def _as_words(tensor: Tensor) -> Tensor:
    """Return the bits of a tensor as whole numbers [n], in as few of them as there can be."""
    flat = tensor.reshape(-1)
    start, size = flat.storage_offset() * flat.element_size(), flat.nbytes
    dtype = next(dtype for width, dtype in _WORDS if not (start % width or size % width))
    return flat.view(dtype)

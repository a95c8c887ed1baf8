"""A model that belongs to somebody else: told apart from what it was, and left as it was found."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules import module as everyone

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Numbers of each tensor that are looked at where they are: sums do not show all that changed places.
_LOOKED_AT = 8
# Words that are summed together: a few in small tensors, whose rows are short.
_FEW, _MANY, _SMALL = 16, 64, 2**16
# What modules note while they run, and their mode, which every caller leaves as it was.
_NOTED = re.compile(r"training|(\w+_)?max_seq_len_cached|_.*")
# Rotations that are computed anew for every text.
_AS_LONG_AS_THE_TEXT = ("longrope", "dynamic")
_WORDS = ((8, torch.int64), (4, torch.int32), (2, torch.int16), (1, torch.uint8))


@torch.no_grad()
def state_of(model: PreTrainedModel) -> Hashable:
    """Return what changes when the model does; its weights are read once, as for a token.

    That is its config, its modules, their hooks, forwards and plain attributes, hooks on all modules, which
    adapters are on, and of each parameter and buffer where it is, how often it was changed in place, sums of
    its bits and a few numbers: ``.data`` is edited without a trace.
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
            _attributes(module),
        )
        for name, module in model.named_modules()
    )
    everywhere = (tuple(everyone._global_forward_hooks), tuple(everyone._global_forward_pre_hooks))
    config = repr(model.config.to_dict())
    named, passing = chain(model.named_parameters(), model.named_buffers()), _passing(model)
    tensors = [(name, part) for name, tensor in named if name not in passing for part in _parts(tensor)]
    versions = tuple(
        (name, id(tensor), tensor.data_ptr(), _version(tensor), tensor.dtype, tuple(tensor.shape))
        for name, tensor in tensors
        if tensor.layout == torch.strided and tensor.device.type != "meta"
    )
    return modules, everywhere, config, versions, _numbers([tensor for _, tensor in tensors])


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


def _attributes(module: nn.Module) -> Hashable:
    """Return what a module notes of itself as a number or a name, such as a scale or a window."""
    return tuple(
        (name, value)
        for name, value in module.__dict__.items()
        if isinstance(value, int | float | str | bool | None) and not _NOTED.fullmatch(name)
    )


def _passing(model: nn.Module) -> set[str]:
    """Return the names of buffers that are written while a model runs: rotations that its text decides."""
    names = set()
    for at, module in model.named_modules():
        kinds = getattr(module, "rope_type", None)
        for layers, kind in kinds.items() if isinstance(kinds, dict) else [("", kinds)]:
            if kind in _AS_LONG_AS_THE_TEXT:
                before = f"{at}.{layers}_" if layers else f"{at}."
                # One may stand for the other, and a buffer with two names is listed once.
                names |= {f"{before}inv_freq", f"{before}original_inv_freq"}
    return names


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
    """Return of each tensor a sum of its bits that their places count in, and a few numbers.

    There is one read per device.
    """
    found: dict[torch.device, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.layout == torch.strided and tensor.device.type != "meta":
            words = _as_words(tensor.detach())
            some = words[:: max(len(words) // _LOOKED_AT, 1)][:_LOOKED_AT].to(torch.int64)
            found.setdefault(tensor.device, []).extend((_sum(words), some))
    return tuple(tuple(torch.cat(parts).tolist()) for parts in found.values())


def _sum(words: Tensor) -> Tensor:
    """Return a sum [1] int64 of words [n], in which a block of them counts by its place."""
    block = _FEW if len(words) < _SMALL else _MANY
    whole = len(words) // block * block
    sums = words[:whole].view(-1, block).sum(1, dtype=torch.int64)
    sums = torch.cat([sums, words[whole:].to(torch.int64)])
    places = torch.arange(1, len(sums) + 1, device=sums.device)
    return (sums * places).sum().reshape(1)


def _as_words(tensor: Tensor) -> Tensor:
    """Return the bits of a tensor as whole numbers [n], in as few of them as there can be."""
    flat = tensor.reshape(-1)
    start, size = flat.storage_offset() * flat.element_size(), flat.nbytes
    dtype = next(dtype for width, dtype in _WORDS if not (start % width or size % width))
    return flat.view(dtype)

"""How much memory the vocabulary takes: the packed head, the bookkeeping, and the full head beside them."""

from __future__ import annotations

import types
from collections.abc import Collection, Iterator
from typing import Any

import attrs
import torch
from torch import Tensor

from specframe.contracts.lm_head import OutputHead

# What they refer to is not the object's own.
_NOT_WALKED = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)


@attrs.frozen(slots=True)
class MemoryUse:
    """Bytes that an active set costs.

    Attributes:
        packed_bytes: what the gather backend holds besides the full head.
        store_bytes: tensors of the active set and of whoever decides over its slots.
        head_bytes: the drafter's full LM head, with the copy in the order that the CPU multiplies by.
    """

    packed_bytes: int
    store_bytes: int
    head_bytes: int


def measure(head: OutputHead, backend: object, store: object | None, active: object | None) -> MemoryUse:
    """Return what a gather backend and a store hold, each tensor counted once.

    Args:
        head: the drafter's LM head [V, H].
        backend: the gather backend.
        store: None for the full vocabulary.
        active: the store's active set.
    """
    head_storages = _storages(head)
    head_bytes = sum(_storages((head.weight, head.bias, head.product)).values())
    active_storages = _storages(active)
    packed = _storages(backend, without=head_storages.keys() | active_storages.keys())
    kept = _storages(store, without=head_storages.keys() | packed.keys())
    return MemoryUse(sum(packed.values()), sum(kept.values()), head_bytes)


def _storages(root: object, without: Collection[int] = ()) -> dict[int, int]:
    """Return address and bytes of every storage that is reachable from an object's attributes."""
    storages = dict(map(_storage, _tensors(root)))
    return {address: size for address, size in storages.items() if address and address not in without}


def _storage(tensor: Tensor) -> tuple[int, int]:
    if tensor.layout != torch.strided:  # oneDNN's own layouts have no storage to ask
        return id(tensor), tensor.numel() * tensor.element_size()
    return tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()


def _tensors(root: object) -> Iterator[Tensor]:
    seen: set[int] = set()
    waiting: list[Any] = [root]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, Tensor):
            yield thing
        elif isinstance(thing, dict):
            waiting += thing.values()
        elif isinstance(thing, list | tuple):
            waiting += thing
        elif isinstance(thing, torch.nn.Module):
            waiting += [*thing.parameters(), *thing.buffers()]
        elif not isinstance(thing, _NOT_WALKED):
            waiting += _attributes(thing)


def _attributes(thing: object) -> list[object]:
    slots = [name for cls in type(thing).__mro__ for name in getattr(cls, "__slots__", ())]
    in_slots = [getattr(thing, name, None) for name in slots if name not in ("__dict__", "__weakref__")]
    return [*in_slots, *getattr(thing, "__dict__", {}).values()]

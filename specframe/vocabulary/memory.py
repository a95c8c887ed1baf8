"""How much memory the vocabulary takes: the packed head, the bookkeeping, and the full head beside them."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import torch
from torch import Tensor

from specframe.vocabulary.protocol import DraftVocabulary


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


def measure(vocabularies: Iterable[DraftVocabulary]) -> MemoryUse:
    """Return what vocabularies over one LM head hold, each tensor counted once."""
    vocabularies = list(vocabularies)
    head = _storages(vocabularies[0].head_tensors)
    store = _storages(tensor for one in vocabularies for tensor in one.tensors)
    packed = _storages(tensor for one in vocabularies for tensor in one.head.held())
    packed = {at: size for at, size in packed.items() if at not in head and at not in store}
    return MemoryUse(*(sum(storages.values()) for storages in (packed, store, head)))


def _storages(tensors: Iterable[Tensor]) -> dict[int, int]:
    """Return address and bytes of every storage behind some tensors."""
    storages = dict(map(_storage, tensors))
    return {address: size for address, size in storages.items() if address}


def _storage(tensor: Tensor) -> tuple[int, int]:
    if tensor.layout != torch.strided:  # oneDNN's own layouts have no storage to ask
        return id(tensor), tensor.numel() * tensor.element_size()
    return tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()

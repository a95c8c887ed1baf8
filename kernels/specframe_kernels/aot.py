"""Compile the kernels for devices that are not here, and read what the compiler made of them.

    python -m specframe_kernels.aot sm_80 sm_90 sm_100 gfx942

prints one JSON object: the version of triton, and what every kernel became.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import attrs
import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from specframe_kernels.admit.state import Admission
from specframe_kernels.admit.triton import launches as admit
from specframe_kernels.candidate_head_topk.triton import launches as candidate_head_topk
from specframe_kernels.gather_rows.triton import launches as gather_rows
from specframe_kernels.head_topk.buffers import TopKBuffers
from specframe_kernels.indexed_head_topk.triton import launches as indexed_head_topk
from specframe_kernels.launch import Launch
from specframe_kernels.sparse_head_topk.triton import launches as sparse_head_topk
from specframe_kernels.sparse_head_topk.triton import logits_launches as sparse_head_logits

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
HIDDEN_SIZES = (2048, 4096)
CAPACITY, VOCAB_SIZE, TOP_K = 3072, 128256, 10  # the paper's setting on Llama 3
CANDIDATES = 256

_POINTERS = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int32: "*i32",
    torch.int64: "*i64",
}
# Loads from global memory, and those of 16 bytes; cp.async goes straight into shared memory.
_LOADS = {
    "cuda": r"ld\.global[^;]*;|cp\.async\.c[ag]\.shared\.global[^;]*;",
    "hip": r"(?:global|buffer)_load_\w+",
}
_WIDE = {
    "cuda": r"\.v4\.b32|\.v2\.b64|\.v8\.b16|\], 0x10,",
    "hip": r"_load_dwordx4|_load_lds_dwordx4",
}


@attrs.frozen(slots=True, order=True)
class CompiledKernel:
    """What a compiler made of one kernel.

    Attributes:
        kernel: name and variant.
        target: ``sm_80``, ``sm_90``, ``sm_100`` or ``gfx942``.
        hidden_size: H; 0 for kernels that never see a row.
        registers: per thread.
        spill_bytes: per thread, of registers that had to go to memory.
        shared_bytes: shared memory per program.
        wide_loads: 128-bit load instructions from global memory.
        narrow_loads: the other ones.
    """

    kernel: str
    target: str
    hidden_size: int
    registers: int
    spill_bytes: int
    shared_bytes: int
    wide_loads: int
    narrow_loads: int


def launches(dtype: torch.dtype = torch.bfloat16) -> Iterator[tuple[str, int, Launch]]:
    """Yield name, hidden size and launch of every kernel in the shapes of the paper, without memory."""
    with torch.device("meta"):
        token_of = torch.empty(CAPACITY, dtype=torch.int32)
        count = torch.empty((), dtype=torch.int64)
        for eviction in ("fifo", "lru"):
            slot_of = torch.empty(VOCAB_SIZE, dtype=torch.int32)
            state = Admission.over(slot_of, token_of, count, pinned=8, lru=eviction == "lru")
            for launch in admit(state, torch.empty(256, dtype=torch.int64)):
                yield f"admit {eviction} {launch.kernel.__name__.strip('_')}", 0, launch
        for hidden_size in HIDDEN_SIZES:
            weight, bias = (
                torch.empty(VOCAB_SIZE, hidden_size, dtype=dtype),
                torch.empty(VOCAB_SIZE, dtype=dtype),
            )
            packed, packed_bias = weight[:CAPACITY], bias[:CAPACITY]
            (launch,) = gather_rows(weight, bias, token_of, token_of, state.new_count, packed, packed_bias)
            yield "gather_rows", hidden_size, launch
            for n in (10, 61):
                hidden = torch.empty(n, hidden_size, dtype=dtype)
                out = TopKBuffers.allocate(n, TOP_K, CAPACITY, "meta")
                finish = {"scale": 1.0, "softcap": 30.0}
                first, _ = sparse_head_topk(hidden, packed, packed_bias, count, token_of, out, **finish)
                yield f"sparse_head_topk N={n}", hidden_size, first
                first, merge = indexed_head_topk(hidden, weight, bias, count, token_of, out, **finish)
                yield f"indexed_head_topk N={n}", hidden_size, first
                (launch,) = sparse_head_logits(
                    hidden, packed, packed_bias, count, torch.empty(n, CAPACITY), **finish
                )
                yield f"sparse_head_logits N={n}", hidden_size, launch
            n = 10
            candidates = torch.empty(n, CANDIDATES, dtype=torch.int64)
            out = TopKBuffers.allocate(n, TOP_K, CAPACITY, "meta", CANDIDATES)
            first, _, union = candidate_head_topk(
                hidden[:n],
                weight,
                bias,
                candidates,
                out,
                count=count,
                slot_of=slot_of,
                token_of=token_of,
                packed=(packed, packed_bias),
                softcap=30.0,
            )
            yield "candidate_head_topk", hidden_size, first
        yield "merge", 0, merge
        yield "merge with candidates", 0, union


def source(launch: Launch) -> ASTSource:
    """Return what ``triton.compile`` takes, specialized as a launch on aligned tensors would be."""
    signature, constants, attributes = {}, {}, {}
    for position, parameter in enumerate(launch.kernel.params):
        value: Any = launch.arguments[parameter.name]
        if parameter.is_constexpr or value is None:
            signature[parameter.name], constants[parameter.name] = "constexpr", value
        elif isinstance(value, Tensor):
            signature[parameter.name] = _POINTERS[value.dtype]
            attributes[(position,)] = [["tt.divisibility", 16]]
        else:
            signature[parameter.name] = "fp32" if isinstance(value, float) else "i32"
    return ASTSource(launch.kernel, signature, constants, attributes)


def compile_launch(name: str, hidden_size: int, launch: Launch, target: str) -> CompiledKernel:
    """Compile one launch for one target and read what it needs."""
    options = {
        "num_warps": launch.num_warps,
        "num_stages": launch.num_stages,
        "enable_fp_fusion": True,
    }
    compiled = triton.compile(source(launch), target=TARGETS[target], options=options)
    backend = TARGETS[target].backend
    if backend == "cuda":
        text = compiled.asm["ptx"]
        registers, spilled = _cuda_registers(compiled.asm["cubin"])
    else:
        text = compiled.asm["amdgcn"]
        registers, spilled = _number(text, r"\.vgpr_count:\s*"), _number(text, r"\.vgpr_spill_count:\s*")
    loads = re.findall(_LOADS[backend], text)
    wide = sum(1 for load in loads if re.search(_WIDE[backend], load))
    return CompiledKernel(
        kernel=name,
        target=target,
        hidden_size=hidden_size,
        registers=registers,
        spill_bytes=spilled,
        shared_bytes=compiled.metadata.shared,
        wide_loads=wide,
        narrow_loads=len(loads) - wide,
    )


def _cuda_registers(cubin: bytes) -> tuple[int, int]:
    """Return registers and bytes of stack per thread; these kernels have nothing but spills to put there."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        usage = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return _number(usage, "REG:"), _number(usage, "STACK:")


def _number(text: str, label: str) -> int:
    """Return the number that follows ``label``."""
    found = re.search(label + r"(\d+)", text)
    if found is None:
        raise ValueError(f"the compiler did not report {label!r}")
    return int(found[1])


def compile_kernels(targets: Iterable[str], dtype: torch.dtype = torch.bfloat16) -> list[CompiledKernel]:
    """Compile every kernel for each of ``targets``; an error of the compiler is raised as it is.

    Raises:
        KeyError: a target is not in ``TARGETS``.
        RuntimeError: triton was imported under TRITON_INTERPRET, which leaves nothing to compile.
    """
    if triton.knobs.runtime.interpret:
        raise RuntimeError("the kernels are interpreted; unset TRITON_INTERPRET to compile them")
    return [
        compile_launch(name, hidden_size, launch, target)
        for target in targets
        for name, hidden_size, launch in launches(dtype)
    ]


if __name__ == "__main__":
    facts = compile_kernels(sys.argv[1:] or TARGETS)
    rows = ",\n".join(json.dumps(attrs.asdict(fact)) for fact in facts)
    print(f'{{"triton": "{triton.__version__}", "kernels": [\n{rows}\n]}}')

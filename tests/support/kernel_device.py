"""Where the tests of kernels put their tensors."""

from __future__ import annotations

import triton

DEVICE = "cpu" if triton.knobs.runtime.interpret else "cuda"

NOT_INTERPRETED = "Triton is not interpreting; run them without TRITON_INTERPRET=0"

from __future__ import annotations

import pytest
import torch

from specframe.models import load_pretrained
from specframe.target import Target

# Reductions depend on the number of threads; a fixed number keeps runs comparable.
torch.set_num_threads(2)


@pytest.fixture(scope="session")
def smollm2() -> Target:
    """The SmolLM2 demo model in float32."""
    return Target.from_loaded(load_pretrained("smollm2-135m", torch.float32))


@pytest.fixture(scope="session")
def smollm2_bfloat16() -> Target:
    """The SmolLM2 demo model in bfloat16."""
    return Target.from_loaded(load_pretrained("smollm2-135m", torch.bfloat16))

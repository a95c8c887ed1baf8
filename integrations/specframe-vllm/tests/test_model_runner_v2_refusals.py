"""What does not go together on vLLM's second model runner is refused in one line."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from specframe.errors import UsageError
from specframe_vllm.hooks.v2 import _refuse_what_does_not_go_together


def refuse(sharded: bool = False, adaptive: bool = False, eager: bool = True, sets: int = 1) -> None:
    speculator: Any = SimpleNamespace(
        vllm_config=SimpleNamespace(
            parallel_config=SimpleNamespace(enable_batch_sharded_sampling=sharded),
            model_config=SimpleNamespace(enforce_eager=eager),
        ),
        speculative_config=SimpleNamespace(enable_adaptive_verification=adaptive),
    )
    drafting: Any = SimpleNamespace(sets=SimpleNamespace(stores=[None] * sets))
    _refuse_what_does_not_go_together(speculator, drafting)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"sharded": True}, "sampling is split over the ranks"),
        ({"adaptive": True}, "adaptive verification needs logits of the whole vocabulary"),
        ({"eager": False, "sets": 3}, "a captured graph cannot know whose active set"),
    ],
    ids=["sharded sampling", "adaptive verification", "a set per request in a graph"],
)
def test_it_is_refused_in_one_line(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        refuse(**asked)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("asked", [{}, {"eager": False}, {"sets": 3}], ids=["all", "a graph", "sets"])
def test_everything_else_goes_together(asked: dict[str, Any]) -> None:
    refuse(**asked)

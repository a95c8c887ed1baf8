"""Engines whose steps are drafted or not as a script says."""

from __future__ import annotations

from vllm import LLM

from specframe_vllm.hooks.scheduler import DraftsByWorth, deciding_in
from specframe_vllm.worth import Judgement, Worth


class Scripted(Worth):
    """Says what it was told to, and notes what it learns.

    Args:
        script: one answer after the other, again and again.
    """

    def __init__(self, *script: bool) -> None:
        super().__init__()
        self._script = script
        self.samples: list[tuple[int, bool, float, int]] = []

    def drafts(self, requests: int) -> bool:
        drafted = self._script[self.steps % len(self._script)]
        self.steps += 1
        return drafted

    def took(self, requests: int, drafted: bool, seconds: float, tokens: int) -> Judgement | None:
        self.samples.append((requests, drafted, seconds, tokens))
        return None


def deciding(llm: LLM) -> DraftsByWorth | None:
    """Return what decides in an engine of this process; None where nothing does."""
    return deciding_in(llm.llm_engine.engine_core.engine_core.scheduler)


def scripted(llm: LLM, *script: bool) -> Scripted:
    """Have an engine draft as a script says."""
    found = deciding(llm)
    assert found is not None
    found.worth = worth = Scripted(*script)
    return worth

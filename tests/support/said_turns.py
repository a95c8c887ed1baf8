"""Turns of a conversation by ids, through an engine and through transformers."""

from __future__ import annotations

from typing import Any

import torch
from tiny_engines import PROMPT
from tiny_models import reference_greedy

from specframe.contracts.report import GenerationReport
from specframe.engine.engine import Engine
from specframe.model.target import Target

TURNS = ([12, 13, 14], [77, 5, 5, 60, 31], [9], [44, 3, 21, 8, 8, 8, 90])


def converse(engine: Engine, turns: Any = TURNS, limits: Any = (7, 1, 12, 9)) -> list[GenerationReport]:
    """Take turns by ids: every prompt is all that was said before and something new."""
    key, said, reports = object(), [*PROMPT], []
    for turn, limit in zip(turns, limits, strict=True):
        said += turn
        reports.append(engine.generate(said, limit, turn_of=key))
        said += reports[-1].token_ids
    return reports


def expected(target: Target, turns: Any = TURNS, limits: Any = (7, 1, 12, 9)) -> list[list[int]]:
    said, answers = [*PROMPT], []
    for turn, limit in zip(turns, limits, strict=True):
        said += turn
        answers.append(reference_greedy(target.model, torch.tensor(said), limit))
        said += answers[-1]
    return answers

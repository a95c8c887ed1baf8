"""Contenders of a benchmark: what warming them up leaves behind."""

from __future__ import annotations

import torch
from tiny_engines import PROMPT, repetitive_target

from specframe.bench.configurations import parse_configurations
from specframe.bench.contenders import EngineContender
from specframe.config import RunConfig
from specframe.engine.assembly import build_engine


def test_a_shared_drafter_does_not_keep_the_text_that_warmed_it_up() -> None:
    target = repetitive_target()
    config = RunConfig(drafter="suffix", dtype="float32", costs="off", warm="shared", max_new_tokens=20)
    cold = build_engine(config, target=target).generate(PROMPT).target_passes
    engine = build_engine(config, target=target)
    (configuration,) = parse_configurations(["full"])
    EngineContender(configuration, engine).warm_up(torch.tensor(PROMPT), 20)
    assert engine.generate(PROMPT).target_passes == cold

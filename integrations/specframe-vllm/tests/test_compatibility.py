from __future__ import annotations

import pytest

from specframe_vllm.compatibility import (
    CONFIGURE,
    MODEL_RUNNER_V1,
    MODEL_RUNNER_V2,
    SCHEDULING,
    HookPoint,
    missing,
)

POINTS = [CONFIGURE, *MODEL_RUNNER_V1, *MODEL_RUNNER_V2, *SCHEDULING]


@pytest.mark.parametrize("point", POINTS, ids=lambda p: p.name)
def test_the_installed_vllm_has_what_is_listened_to(point: HookPoint) -> None:
    assert missing([point]) == []


def test_a_module_that_is_gone_is_missing() -> None:
    assert missing([HookPoint("vllm.v2.nowhere", "Runner", "run", ())]) == ["vllm.v2.nowhere.Runner"]


def test_a_method_that_is_gone_is_missing() -> None:
    assert missing([HookPoint("pathlib", "Path", "fly", ())]) == ["Path.fly"]


def test_a_method_that_is_called_in_another_way_is_missing() -> None:
    point = HookPoint("fractions", "Fraction", "limit_denominator", ("largest",))
    assert missing([point]) == ["Fraction.limit_denominator(largest)"]


def test_more_parameters_at_the_end_do_no_harm() -> None:
    assert missing([HookPoint("pathlib", "Path", "read_text", ("encoding",))]) == []

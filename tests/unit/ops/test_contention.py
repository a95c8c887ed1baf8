"""A process that has to give way is told from one that has the machine for itself."""

from __future__ import annotations

import pytest
import torch

from specframe.ops import contention
from specframe.ops.contention import watch_contention


@pytest.mark.parametrize(("a_second", "found"), [(0, False), (40, False), (150, True)])
def test_giving_way_often_means_that_other_programs_run(
    monkeypatch: pytest.MonkeyPatch, a_second: int, found: bool
) -> None:
    now = [0.0]
    monkeypatch.setattr(contention, "perf_counter", lambda: now[0])
    monkeypatch.setattr(contention, "_switches", lambda: int(now[0] * a_second * torch.get_num_threads()))
    with watch_contention() as watched:
        now[0] = 2.0
    assert watched.found is found


def test_the_system_counts_how_often_a_process_gave_way() -> None:
    assert contention._switches() >= 0

"""What docs/metrics.md shows runs, and every metric is on the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from specframe_plugins.metrics.observer import Metrics

_PAGE = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_the_example_runs() -> None:
    names: dict[str, Any] = {}
    (block,) = re.findall(r"^```python\n(.*?)^```", _PAGE, re.DOTALL | re.MULTILINE)
    exec(compile(block, "docs/metrics.md", "exec"), names)
    labels = {"model_name": "smollm2-135m", "strategy": "nanospec", "drafter": "eagle"}
    passes = names["registry"].get_sample_value("specframe_target_passes_total", labels)
    assert passes == names["report"].target_passes


def test_every_metric_is_on_the_page_with_its_kind() -> None:
    rows = set(re.findall(r"^\| `([\w:]+)` \| (\w+) \|", _PAGE, re.MULTILINE))
    assert {(metric.name, metric.type) for metric in Metrics(CollectorRegistry()).collect()} == rows

"""What docs/python.md shows runs, from its first line to its last."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs

from specframe.request.request import Request

_PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")


def test_the_examples_run_in_their_order() -> None:
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", _PAGE, re.DOTALL | re.MULTILINE):
        exec(compile(block, "docs/python.md", "exec"), names)
    assert names["shorter"].new_tokens <= 8
    assert names["second"].kept_tokens > 0
    assert len(names["output"][0]) <= names["inputs"]["input_ids"].shape[1] + 16


def test_every_field_of_a_request_is_on_the_page() -> None:
    table = _PAGE[_PAGE.index("| field |") : _PAGE.index("**Where the output ends.**")]
    documented = set(re.findall(r"`(\w+)`", table))
    assert {field.name for field in attrs.fields(Request)} - {"prompt"} <= documented

"""Pages read the same on a code host and on the site, whose Markdown is stricter about lists."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from doc_blocks import ROOT, pages

_ITEM = re.compile(r" *([-*]|\d+\.) ")
_CODE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)


def numbered_pairs(page: str) -> list[tuple[int, str, str]]:
    """Return each line with its number and the line before; code is empty lines."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = _CODE.sub(lambda code: "\n" * code[0].count("\n"), text).splitlines()
    return [(number, before, line) for number, (before, line) in enumerate(pairwise(["", *found]), 1)]


@pytest.mark.parametrize("page", pages())
def test_what_belongs_to_an_item_is_indented_by_four(page: str) -> None:
    pairs = numbered_pairs(page)
    assert [number for number, before, line in pairs if not before and re.match(r" {1,3}\S", line)] == []


@pytest.mark.parametrize("page", pages())
def test_a_list_begins_after_a_blank_line(page: str) -> None:
    within, glued = False, []
    for number, before, line in numbered_pairs(page):
        item = bool(_ITEM.match(line))
        if item and before and not within:
            glued.append(number)
        within = item or (within and bool(line))
    assert glued == []

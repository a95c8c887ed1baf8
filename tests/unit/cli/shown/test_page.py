"""The page holds what was recorded, as text and never as code."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from byte_tokenizer import byte_tokenizer
from shown import Told, drafted, report_of
from tiny_models import tiny_tokenizer

from specframe.cli.shown.page import check_page_place, page
from specframe.cli.shown.token_texts import TokenTexts
from specframe.errors import SpecframeError, UsageError


def written(told: Told, tokenizer: Any, **changed: Any) -> str:
    return page(
        told.story,
        report_of(told, **changed),
        prompt="<b>prompt</b>",
        vocab_size=90,
        token_text=TokenTexts(tokenizer),
    )


def data_of(text: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


@pytest.fixture
def told() -> Told:
    return Told(tiny_tokenizer(), 5, drafted(5, [6, 7], 8, "oov", rejected=[9], source="lookup"))


def test_the_tree_of_a_pass_is_what_was_recorded(told: Told) -> None:
    data = data_of(written(told, tiny_tokenizer()))
    (one,) = data["passes"]
    nodes = [[data["ids"][number], *rest] for number, *rest in one["nodes"]]
    assert nodes == [
        [5, -1, 0, 1.0, "drafted", 1],
        [6, 0, 1, 0.5, "source-0", 1],
        [7, 1, 2, 0.5, "source-0", 1],
        [9, 2, 3, 0.25, "source-0", 1],
    ]
    assert (one["path"], one["emitted"], data["ids"][one["next"]]) == ([0, 1, 2], 3, 8)
    assert (one["nextActive"], one["rejection"], one["active"]) == (False, "oov", 7)
    assert [[data["ids"][number], *rest] for number, *rest in data["tokens"]] == [
        [5, "first", None], [6, "source-0", 0], [7, "source-0", 0], [8, "outside", 0],
    ]  # fmt: skip


def test_what_a_model_writes_is_text() -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&"
    tokenizer = byte_tokenizer(evil.replace(" ", "Ġ"))
    said = len(tokenizer) - 2
    told = Told(tokenizer, 64, drafted(64, [said], 65, rejected=[said]))
    text = written(told, tokenizer)
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "&lt;/script&gt;" in text
    assert evil in data_of(text)["texts"]


def test_a_prompt_is_text(told: Told) -> None:
    assert "<b>prompt" not in written(told, tiny_tokenizer())


def test_half_a_character_and_a_token_without_text_are_there_to_be_selected() -> None:
    tokenizer = byte_tokenizer()
    first, *ids = tokenizer.encode("日", add_special_tokens=False)
    told = Told(tokenizer, first, drafted(first, ids, tokenizer.eos_token_id))
    text = written(told, tokenizer)
    assert text.count('role="option"') == 4
    assert text.count(' part"></b>') == 2
    assert "&lt;eos&gt;</b>" in text


def test_a_generation_of_nothing_but_its_first_token_has_a_page() -> None:
    told = Told(tiny_tokenizer(), 5)
    assert data_of(written(told, tiny_tokenizer(), tau=0.0))["passes"] == []


def test_a_page_of_two_thousand_tokens_is_no_burden() -> None:
    passes = [drafted(5, [6, 7, 8], 9, "drafter_miss", rejected=range(10, 26)) for _ in range(500)]
    text = written(Told(tiny_tokenizer(), 5, *passes), tiny_tokenizer())
    assert text.count('role="option"') == 2001
    assert len(text) < 1_500_000


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecframeError, match=r"cannot write .*/nowhere/page.html: No such file or directory"):
        check_page_place(tmp_path / "nowhere" / "page.html")


def test_a_missing_library_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=r"a page needs jinja2; install with: pip install 'specframe\[report\]'"
    ):
        check_page_place(tmp_path / "page.html")

"""Without lm-eval its command says how to get it."""

from __future__ import annotations

import sys

import pytest
from command_line import CommandLine


def test_without_the_library_the_command_says_what_to_install(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "lm_eval.__main__", raising=False)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert (
        cli("lm-eval", "run").complaint
        == "lm-eval is not installed; allowed: pip install 'specframe[lm-eval]'"
    )

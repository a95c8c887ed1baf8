"""What a test run does not check, it says in its last line."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

SKIPPING = """
import pytest

def test_this_runs():
    pass

@pytest.mark.skipif(True, reason="there is no browser; install one")
@pytest.mark.parametrize("page", range(3))
def test_a_page(page):
    pass

def test_a_device():
    pytest.skip("there is no device")
"""
COUNTED = "4 checks did not run: 3 since there is no browser; install one; 1 since there is no device"


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "in workers"])
def test_the_last_line_counts_what_was_skipped_by_its_reason(
    pytester: pytest.Pytester, workers: list[str]
) -> None:
    pytester.makepyfile(SKIPPING)
    lines = pytester.runpytest_inprocess("-p", "not_run", *workers).outlines
    assert [line for line in lines if line][-1] == COUNTED
    assert lines.count(COUNTED) == 1


def test_a_module_that_cannot_be_imported_counts_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile('import pytest\npytest.importorskip("no_such_module", reason="no such module")')
    lines = pytester.runpytest_inprocess("-p", "not_run").outlines
    assert lines[-1] == "1 check did not run: 1 since no such module"


def test_where_everything_ran_nothing_is_said(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_this_runs():\n    pass")
    assert "did not run" not in pytester.runpytest_inprocess("-p", "not_run").stdout.str()

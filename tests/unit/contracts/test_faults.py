from __future__ import annotations

import pytest

from specframe.contracts.faults import ComponentError, blaming


def test_an_exception_of_several_lines_becomes_one_line() -> None:
    with pytest.raises(ComponentError) as error, blaming("drafter"):
        raise ValueError("boom\nand more")
    assert str(error.value) == "drafter raised ValueError: boom and more"

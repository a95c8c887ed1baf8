"""How much of a map is asked for: a number of tokens, or a share of what was counted."""

from __future__ import annotations

import math


def parse_size(size: str, besides: str = "") -> int | float:
    """Return a whole number as a number of tokens, and one with a point as a coverage share.

    Args:
        size: as it was typed.
        besides: what else is allowed, for the error.

    Raises:
        ValueError: it is neither, or not positive, or a share above 1.
    """
    if size.isdecimal() and int(size) >= 1:
        return int(size)
    try:
        share = float(size)
    except ValueError:
        share = math.nan
    if "." in size and 0 < share <= 1:
        return share
    raise ValueError(
        f"size is {size!r}; allowed: a whole number of tokens from 1, or a coverage share such as "
        f"0.99{besides}"
    )

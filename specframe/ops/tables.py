"""Tables for people: drawn on a terminal, plain aligned text everywhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_records(records: Sequence[Mapping[str, str]], title: str = "") -> None:
    """Print at least one record, cells by the header of their column, to standard output."""
    print_table([list(record.values()) for record in records], list(records[0]), title)


def print_table(rows: Sequence[Sequence[str]], headers: Sequence[str] = (), title: str = "") -> None:
    """Print rows of equal length to standard output.

    Args:
        rows: cells, each one line.
        headers: one per column; none for a table without a head.
        title: line above the table.
    """
    console = Console()
    if not console.is_terminal:
        print(plain_table(rows, headers, title))
        return
    table = Table(*headers, title=title or None, title_justify="left", show_header=bool(headers))
    for row in rows:
        # Cells are data: brackets in them are not markup.
        table.add_row(*map(Text, row))
    console.print(table)


def plain_table(rows: Sequence[Sequence[str]], headers: Sequence[str] = (), title: str = "") -> str:
    """Return rows as lines of left-aligned columns, two spaces apart."""
    lines = [list(headers), *rows] if headers else list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([title, *text] if title else text)


def shown(value: float | None, form: str) -> str:
    """Return a number in a format, and nothing for what is not known."""
    return "" if value is None else format(value, form)

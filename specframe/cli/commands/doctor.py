"""``specframe doctor``."""

from __future__ import annotations

import typer

from specframe.cli.examination import DoctorOptions, examine, is_broken, to_json, to_rows
from specframe.cli.options import JsonOption, takes_options
from specframe.cli.root import Root


@takes_options
def doctor(context: typer.Context, options: DoctorOptions, json: JsonOption = False) -> None:
    """Say what is installed, what runs here, and what is broken.

    The exit code is 1 when anything is broken.
    """
    from specframe.ops.tables import print_table

    findings, costs, forwards, heads = examine(options, Root.of(context).broken), None, None, None
    if options.costs and not is_broken(findings):
        from specframe.cli.cost_tables import (
            compared_forwards,
            compared_heads,
            known_costs,
            to_tables,
            verdict,
        )
        from specframe.ops.progress_line import ProgressLine

        with ProgressLine("measuring", 3) as progress:
            forwards = compared_forwards(options)
            progress.advance()
            heads = compared_heads(options)
            progress.advance()
            costs = known_costs(options)
    if json:
        print(to_json(findings, costs, forwards, heads))
    else:
        print_table(to_rows(findings), headers=("", "what", "finding"))
    if costs is not None and not json:
        for title, headers, rows in to_tables(costs, forwards, heads):
            print()
            print_table(rows, headers, title)
        print(f"\n{verdict(costs)}")
    if is_broken(findings):
        raise typer.Exit(1)

"""``specframe doctor``."""

from __future__ import annotations

import typer

from specframe.cli.examination import DoctorOptions, examine, is_broken, to_json, to_rows
from specframe.cli.options import JsonOption, takes_options


@takes_options
def doctor(options: DoctorOptions, json: JsonOption = False) -> None:
    """Say what is installed, what runs here, and what is broken.

    The exit code is 1 when anything is broken.
    """
    from specframe.ops.tables import print_table

    findings = examine(options)
    if json:
        print(to_json(findings))
    else:
        print_table(to_rows(findings), headers=("", "what", "finding"))
    if is_broken(findings):
        raise typer.Exit(1)

"""The plugin ``specframe-lm-eval``: lm-eval's own command, which knows the model ``specframe``."""

from __future__ import annotations

import sys

import typer

from specframe.errors import UsageError
from specframe.registry.commands import Commands
from specframe.registry.hookspecs import hookimpl

_HANDED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@hookimpl
def specframe_register_commands(cli: Commands) -> None:
    """Add the command; lm-eval has the help of its own."""
    cli.command("lm-eval", context_settings=_HANDED_ON, add_help_option=False)(evaluate)


def evaluate(context: typer.Context) -> None:
    """Run lm-evaluation-harness, which has the model `specframe` here; an extra."""
    try:
        from lm_eval.__main__ import cli_evaluate
    except ModuleNotFoundError as error:
        if error.name not in ("lm_eval", "lm_eval.__main__"):
            raise
        raise UsageError("lm-eval is not installed; allowed: pip install 'specframe[lm-eval]'") from None
    from specframe_plugins.lm_eval import model  # noqa: F401  # which registers it

    sys.argv = ["lm-eval", *context.args]  # where lm-eval looks for them
    cli_evaluate()

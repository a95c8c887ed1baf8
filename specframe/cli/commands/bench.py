"""The plugin ``specframe-bench``: the commands ``bench`` and ``report``."""

from __future__ import annotations

from functools import partial

from specframe.bench.command import BenchArguments, prepare
from specframe.cli.commands.report import report
from specframe.cli.options import takes_options
from specframe.config import RunConfig
from specframe.registry.commands import Commands
from specframe.registry.hookspecs import hookimpl


@hookimpl
def specframe_register_commands(cli: Commands) -> None:
    """Add the commands."""
    cli.command()(bench)
    cli.command()(report)


# Texts are the same whatever a model's own sampling parameters and penalties are.
@partial(takes_options, without=("strategy",), settings={"generation_config": "none"})
def bench(run_config: RunConfig, arguments: BenchArguments) -> None:
    """Compare strategies and peers on task prompts.

    Every prompt is answered by all configurations in turn, in an order that rotates. Every text is checked
    to be the target's. The exit code is 1 when a check fails.
    """
    options = prepare(arguments, run_config)

    # Imported late, and only after what was typed has been checked: torch takes seconds.
    from specframe.bench.report.kept import show
    from specframe.bench.session import run_bench
    from specframe.bench.summary import failure
    from specframe.replay.bench_trace import bench_trace

    if arguments.sweep:
        from specframe.bench.report.sweep import show_sweep
        from specframe.bench.sweep import run_sweep

        swept = run_sweep(options)
        show_sweep(swept, arguments.report)
        checks = [check for of_round in swept.rounds for check in of_round.manifest.findings]
    else:
        with bench_trace(options.configurations, arguments, len(options.tasks)) as recorder:
            result = run_bench(options, recorder=recorder)
        show(result.rows, result.manifest, arguments.report)
        checks = result.manifest.findings
    error = failure(checks)
    if error is not None:
        raise error

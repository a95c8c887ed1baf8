"""The command line: parse, call, print."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer.exceptions import Abort, TyperException

from specframe.cli.options import DEFAULTS, StopIdOption, StopOption, option, takes_run_config
from specframe.cli.train import train_app
from specframe.config import RunConfig
from specframe.errors import SpecframeError, UsageError

app = typer.Typer(
    name="specframe",
    help="Vocabulary-pruned speculative decoding: draft over a small active vocabulary, get exactly the "
    "target's output.",
    add_completion=False,
    # Rich help cuts long names off at 80 columns.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
plugins_app = typer.Typer(help="Show the installed components.", rich_markup_mode=None)
app.add_typer(plugins_app, name="plugins")
app.add_typer(train_app, name="train")


def main() -> None:
    """Run the command line; what the user got wrong becomes one line on standard error."""
    if hasattr(sys.stdout, "reconfigure"):
        # Text of any language must not fail on a terminal that cannot show it.
        sys.stdout.reconfigure(errors="replace")
    try:
        code = app(standalone_mode=False)
    except SpecframeError as error:
        _fail(str(error), error.exit_code)
    except TyperException as error:
        _fail(error.format_message(), error.exit_code)
    except (Abort, KeyboardInterrupt):
        code = 130
    sys.exit(code)


def _fail(message: str, exit_code: int) -> NoReturn:
    print("specframe:", " ".join(message.split()), file=sys.stderr)
    sys.exit(exit_code)


def _print_version(wanted: bool) -> None:
    if wanted:
        from specframe import __version__

        print(__version__)
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@plugins_app.callback(invoke_without_command=True)
def _plugins_root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
@takes_run_config
def run(
    run_config: RunConfig,
    stdin: Annotated[
        str | None, typer.Argument(metavar="[-]", help="Read the prompt from standard input.")
    ] = None,
    prompt: Annotated[str | None, option("The prompt.", default="a built-in prompt", metavar="TEXT")] = None,
    prompt_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Read the prompt from a file, or - for standard input.")
    ] = None,
    chat: Annotated[
        bool | None,
        option(
            "Wrap the prompt as one user turn, or take it as it is.",
            "--chat/--raw",
            default="--chat if the tokenizer has a chat template",
        ),
    ] = None,
    stop: StopOption = None,
    stop_id: StopIdOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Generate text: stream it as it is accepted, then report."""
    from specframe.request.prompts import read_prompt

    text = read_prompt(prompt, prompt_file, stdin)

    # Imported late, and only after what was typed has been checked: torch takes seconds.
    from specframe.engine.assembly import build_engine
    from specframe.engine.report import to_json, to_rows
    from specframe.ops.tables import print_table
    from specframe.request.request import Request

    request = Request(text, chat=chat, stop=stop or (), stop_ids=stop_id or ())
    engine = build_engine(run_config)
    if json:
        print(to_json(engine.generate(request)))
        return
    for chunk in engine.stream(request):
        print(chunk.text, end="", flush=True)
    print("\n")
    assert engine.report is not None
    print_table(to_rows(engine.report, engine.target.vocab_size))


@app.command()
@takes_run_config
def chat(
    run_config: RunConfig,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the model is told before the first turn.")
    ] = None,
    stop: StopOption = None,
    stop_id: StopIdOption = None,
) -> None:
    """Talk to a model: one turn a line, what was said before stays in the caches.

    Ctrl-C ends an answer, /new starts over, /quit or the end of the input ends the chat.
    """
    from specframe.cli.chat import talk
    from specframe.engine.assembly import build_engine
    from specframe.engine.conversation import Conversation

    talk(Conversation(build_engine(run_config), system, stop=stop or (), stop_ids=stop_id or ()))


@app.command()
@partial(takes_run_config, without=("strategy",))
def bench(
    run_config: RunConfig,
    tasks: Annotated[
        Path | None,
        option(
            "Task prompts, one JSON object per line: our format, Spec-Bench's or HumanEval's.",
            default="built-in prompts of seven tasks",
            metavar="FILE",
        ),
    ] = None,
    strategies: Annotated[
        list[str] | None,
        option(
            "What to compare, separated by commas; repeatable. A strategy, `autoregressive`, or a peer: "
            "`hf-greedy` and `hf-prompt-lookup` are transformers' own. Options follow a colon: "
            "nanospec:capacity=1024,drafter.nodes=16.",
            "-s",
            "--strategies",
            default="autoregressive,full,static,nanospec; with --sweep nanospec",
            metavar="NAME[:KEY=VALUE,...],...",
        ),
    ] = None,
    sweep: Annotated[
        bool,
        typer.Option(
            "--sweep",
            help="Find the fastest options here, in rounds on fresh prompts that each keep the faster half. "
            "A single configuration is compared with what its drafter offers; others with each other, for "
            "example 'nanospec:drafter.nodes=6|12'.",
        ),
    ] = False,
    limit_per_task: Annotated[
        int | None, option("Prompts per task; of each round with --sweep.", default="all, or 1", metavar="N")
    ] = None,
    skip_per_task: Annotated[
        int, typer.Option(metavar="N", min=0, help="Prompts to leave out at the start of each task.")
    ] = 0,
    json: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.jsonl",
            help="Where the rows go, one JSON object per prompt and configuration; OUT.meta.json beside it "
            "says how they came about. The same command goes on where it was interrupted. With --sweep there "
            "is a file per round, OUT.round1.jsonl and so on.",
        ),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave malformed lines and prompts that are too long out.")
    ] = False,
    chat: Annotated[
        bool | None,
        option(
            "Wrap prompts as one user turn, or take them as they are.",
            "--chat/--raw",
            default="--chat if the tokenizer has a chat template",
        ),
    ] = None,
    threads: Annotated[
        int | None, option("Threads of a CPU.", default="PyTorch's choice", metavar="N")
    ] = None,
    tolerance: Annotated[
        float | None,
        option(
            "How far a token may be below the target's largest logit and still pass for tied with it.",
            default="0.5 in bfloat16, 0.0625 in float16, 0.001 in float32",
            metavar="LOGITS",
        ),
    ] = None,
    report_directory: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="DIR",
            help="Write a page with charts here; an earlier report is replaced.",
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="TRACE",
            help="Keep what a strategy sees for `specframe replay`. The configuration that is recorded pays "
            "for it: leave it out of comparisons of speed.",
        ),
    ] = None,
    record_configuration: Annotated[
        str | None,
        option(
            "The configuration to record. Any strategy can be scored from trees over the full vocabulary.",
            default="full if it is among them, else the first that drafts",
            metavar="NAME[:KEY=VALUE,...]",
        ),
    ] = None,
    record_topk: Annotated[
        int, typer.Option(metavar="K", help="How many of the target's top ids to record per position.")
    ] = 8,
    record_window: Annotated[
        int, typer.Option(metavar="P", help="For how many of the last prompt positions to record them.")
    ] = 256,
) -> None:
    """Compare strategies and peers on task prompts.

    Every prompt is answered by all configurations in turn, in an order that rotates. Every text is checked
    to be the target's. The exit code is 1 when a check fails.
    """
    from specframe.bench.command import BenchArguments, prepare
    from specframe.bench.report.directory import check_report_directory

    if report_directory is not None:
        check_report_directory(report_directory)
    options = prepare(
        BenchArguments(
            tasks=tasks,
            strategies=strategies or (),
            sweep=sweep,
            limit_per_task=limit_per_task,
            skip_per_task=skip_per_task,
            skip_bad=skip_bad,
            json=json,
            chat=chat,
            threads=threads,
            tolerance=tolerance,
        ),
        run_config,
    )

    # Imported late, and only after what was typed has been checked: torch takes seconds.
    from specframe.bench.report.kept import show
    from specframe.bench.session import run_bench
    from specframe.bench.summary import failure
    from specframe.replay.bench_trace import bench_trace

    if sweep:
        if record is not None:
            raise UsageError("--record is given with --sweep; allowed: one of them")
        from specframe.bench.report.sweep import show_sweep
        from specframe.bench.sweep import run_sweep

        swept = run_sweep(options)
        show_sweep(swept, report_directory)
        error = failure([check for of_round in swept.rounds for check in of_round.checks])
        if error is not None:
            raise error
        return
    with bench_trace(
        options.configurations,
        record,
        record_configuration,
        topk=record_topk,
        prompt_window=record_window,
    ) as recorder:
        result = run_bench(options, recorder=recorder)
    show(result.rows, result.manifest, report_directory)
    error = failure(result.checks)
    if error is not None:
        raise error


@app.command()
def report(
    rows: Annotated[Path, typer.Argument(metavar="ROWS.jsonl", help="What `specframe bench --json` wrote.")],
    directory: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="DIR",
            help="Write a page with charts here; an earlier report is replaced.",
        ),
    ] = None,
) -> None:
    """Report on a benchmark that was run before.

    Prints the comparison, and writes the page with `--report`, without running anything again.
    """
    from specframe.bench.report.kept import show_kept

    show_kept(rows, directory)


@app.command()
def replay(
    trace: Annotated[Path, typer.Argument(metavar="TRACE", help="A file that --record has written.")],
    strategies: Annotated[
        list[str] | None,
        option(
            "Strategies to score, separated by commas; repeatable. Options follow a colon: "
            "nanospec:capacity=1024,harvest_topk=1.",
            "-s",
            "--strategies",
            default="full,static,nanospec",
            metavar="NAME[:KEY=VALUE,...],...",
        ),
    ] = None,
    task: Annotated[
        list[str] | None, option("Requests of this task only; repeatable.", default="all", metavar="TASK")
    ] = None,
    limit_per_task: Annotated[int | None, option("Requests per task.", default="all", metavar="N")] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", help="Draw coverage against active size, with its Pareto front, and by step."
        ),
    ] = None,
    tune: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:KEY=VALUE,...]",
            help="Search the options of this strategy, those after the colon aside: the least head and fetch "
            "time above the coverage floor.",
        ),
    ] = None,
    coverage_floor: Annotated[
        float, typer.Option(metavar="SHARE", help="Least coverage of what --tune may choose.")
    ] = 0.9,
    trials: Annotated[
        int, typer.Option(metavar="N", help="Choices that --tune tries in all, those in --storage included.")
    ] = 100,
    storage: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the trials of --tune here, to go on later; SQLite."),
    ] = None,
    costs: Annotated[
        Path | None,
        option(
            "Measured times of the packed head for --tune; written when there is no such file.",
            default="beside --storage; measured anew without one",
            metavar="FILE.json",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Score vocabulary strategies from a trace, without the model."""
    from specframe.replay.command import ReplayArguments, run_replay

    run_replay(
        ReplayArguments(
            trace=trace,
            strategies=strategies or (),
            tasks=task or (),
            limit_per_task=limit_per_task,
            plot=plot,
            tune=tune,
            coverage_floor=coverage_floor,
            trials=trials,
            storage=storage,
            costs=costs,
            json=json,
        )
    )


@app.command()
def models() -> None:
    """List the demo models.

    Whether they are installed, their licence, and the command that installs them.
    """
    from specframe.model.loading import DEMO_MODELS
    from specframe.ops.tables import print_table

    print_table(
        [
            (demo.name, "yes" if demo.installed else "no", demo.licence, demo.summary, demo.install)
            for demo in DEMO_MODELS.values()
        ],
        headers=("name", "installed", "licence", "what it is", "install with"),
    )


@app.command()
def doctor(
    device: Annotated[
        str | None,
        option("Torch device: cpu, cuda, cuda:1, ...", default=DEFAULTS["device"], metavar="DEVICE"),
    ] = None,
    dtype: Annotated[
        str | None,
        option(
            "Weights and activations: float32, bfloat16 or float16; `auto` takes bfloat16 where the device "
            "multiplies it, float32 elsewhere.",
            default=DEFAULTS["dtype"],
            metavar="DTYPE",
        ),
    ] = None,
    compile_targets: Annotated[
        list[str] | None,
        typer.Option(
            "--compile",
            metavar="TARGET",
            help="Compile the kernels for a GPU that need not be here, for example sm_90 or gfx942. "
            "Repeatable.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        option(
            "Load this target and check what ships for it.",
            default="none, or an installed demo model if there is a drafter to check",
            metavar="MODEL",
        ),
    ] = None,
    drafter: Annotated[
        str | None, option("Check this drafter.", default=DEFAULTS["drafter"], metavar="NAME")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        option(
            "Check this checkpoint of the drafter against the target.",
            default="the one that ships for the target",
            metavar="DIR",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Say what is installed, what runs here, and what is broken.

    The exit code is 1 when anything is broken.
    """
    from specframe.cli.doctor import DoctorOptions, examine, is_broken, to_json, to_rows
    from specframe.ops.tables import print_table

    findings = examine(
        DoctorOptions(
            device=device or DEFAULTS["device"],
            dtype=dtype or DEFAULTS["dtype"],
            compile_targets=tuple(compile_targets or ()),
            model=model,
            drafter=drafter,
            checkpoint=checkpoint,
        )
    )
    if json:
        print(to_json(findings))
    else:
        print_table(to_rows(findings), headers=("", "what", "finding"))
    if is_broken(findings):
        raise typer.Exit(1)


@plugins_app.command("list")
def plugins_list() -> None:
    """List the components and where they come from."""
    from specframe.ops.tables import print_table
    from specframe.registry.manager import build_registry, create_plugin_manager

    print_table(
        [
            (entry.kind, entry.component.name, entry.component.summary, entry.distribution)
            for entry in build_registry(create_plugin_manager()).registrations()
        ],
        headers=("kind", "name", "what it is", "plugin"),
    )


@plugins_app.command("show")
def plugins_show(
    kind: Annotated[str, typer.Argument(help="vocabulary, gather, drafter or verifier.")],
    name: Annotated[str, typer.Argument(help="As `specframe plugins list` has it.")],
) -> None:
    """Show one component and its options."""
    from specframe.contracts.options import describe
    from specframe.ops.tables import print_table
    from specframe.registry.manager import build_registry, create_plugin_manager

    entry = build_registry(create_plugin_manager()).find(kind, name)
    component = entry.component
    print(f"{component.name}: {component.summary} (from {entry.distribution})")
    if entry.kind == "verifier":
        exactness = "lossy, needs --allow-lossy" if component.lossy else "exact"
        print(f"{exactness}; draft trees: {', '.join(component.trees)}")
    elif entry.kind == "drafter":
        print(f"draft trees: {', '.join(component.trees)}")
    for title, options in (
        (f"Options: -o {entry.kind}.NAME=VALUE", component.options),
        ("Options of `specframe train`: -o NAME=VALUE", component.train_options),
    ):
        if options is not None:
            rows = [(o.name, o.type_name, o.default, o.unit, o.help) for o in describe(options)]
            print()
            print_table(rows, headers=("name", "type", "default", "unit", "what it does"), title=title)

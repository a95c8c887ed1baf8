"""The command line: parse, call, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import attrs
import typer
from typer.exceptions import Abort, TyperException

from specframe.config import RunConfig, resolve_config
from specframe.errors import SpecframeError

_DEFAULTS: dict[str, Any] = {field.name: field.default for field in attrs.fields(RunConfig)}

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


def _option(help: str, *names: str, default: object, metavar: str | None = None) -> Any:
    """Declare an option that is None when it was not typed; the help says what happens then."""
    return typer.Option(*names, help=f"{help} [default: {default}]", metavar=metavar, show_default=False)


ModelOption = Annotated[
    str | None,
    _option(
        "The target: a demo model (`specframe models` lists them), a hub id, a directory or a .gguf file.",
        default="an installed demo model",
        metavar="MODEL",
    ),
]


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
def run(
    stdin: Annotated[
        str | None, typer.Argument(metavar="[-]", help="Read the prompt from standard input.")
    ] = None,
    model: ModelOption = None,
    strategy: Annotated[
        str | None,
        _option(
            "Which tokens the drafter may propose; `autoregressive` decodes without a drafter.",
            default=_DEFAULTS["strategy"],
            metavar="NAME",
        ),
    ] = None,
    drafter: Annotated[
        str | None, _option("What proposes tokens.", default=_DEFAULTS["drafter"], metavar="NAME")
    ] = None,
    verifier: Annotated[
        str | None,
        _option(
            "What accepts them; `auto` takes greedy at temperature 0 and sampling above.",
            default=_DEFAULTS["verifier"],
            metavar="NAME",
        ),
    ] = None,
    gather: Annotated[
        str | None,
        _option(
            "What packs the LM-head rows; `auto` takes the fastest that runs here.",
            default=_DEFAULTS["gather"],
            metavar="NAME",
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--option",
            metavar="KIND.NAME=VALUE",
            help="Option of a component, for example vocabulary.capacity=3072. Repeatable; "
            "`specframe plugins show` lists them.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Settings from a file; the command line beats it."),
    ] = None,
    prompt: Annotated[str | None, _option("The prompt.", default="a built-in prompt", metavar="TEXT")] = None,
    prompt_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Read the prompt from a file, or - for standard input.")
    ] = None,
    chat: Annotated[
        bool | None,
        _option(
            "Wrap the prompt as one user turn, or take it as it is.",
            "--chat/--raw",
            default="--chat if the tokenizer has a chat template",
        ),
    ] = None,
    max_new_tokens: Annotated[
        int | None, _option("Length limit, tokens.", default=_DEFAULTS["max_new_tokens"], metavar="N")
    ] = None,
    dtype: Annotated[
        str | None,
        _option(
            "Weights and activations: float32, bfloat16 or float16.",
            default=_DEFAULTS["dtype"],
            metavar="DTYPE",
        ),
    ] = None,
    device: Annotated[
        str | None,
        _option("Torch device: cpu, cuda, cuda:1, ...", default=_DEFAULTS["device"], metavar="DEVICE"),
    ] = None,
    temperature: Annotated[
        float | None,
        _option(
            "Divides the target's logits; 0 decodes greedily, above 0 samples.",
            default=_DEFAULTS["temperature"],
            metavar="T",
        ),
    ] = None,
    top_p: Annotated[
        float | None,
        _option(
            "Sample from the most likely tokens that together have this probability.",
            default=_DEFAULTS["top_p"],
            metavar="P",
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        _option(
            "Sample from this many most likely tokens, 0 for all.", default=_DEFAULTS["top_k"], metavar="K"
        ),
    ] = None,
    min_p: Annotated[
        float | None,
        _option(
            "Sample from the tokens with at least this share of the most likely token's probability.",
            default=_DEFAULTS["min_p"],
            metavar="P",
        ),
    ] = None,
    repetition_penalty: Annotated[
        float | None,
        _option(
            "Above 1, tokens of the prompt and of the output become less likely; also in greedy decoding.",
            default=_DEFAULTS["repetition_penalty"],
            metavar="R",
        ),
    ] = None,
    seed: Annotated[
        int | None, _option("Seed of everything that is drawn.", default=_DEFAULTS["seed"], metavar="N")
    ] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="End the text right before this string. Repeatable."),
    ] = None,
    stop_id: Annotated[
        list[int] | None, typer.Option(metavar="ID", help="End at this token id. Repeatable.")
    ] = None,
    fallback: Annotated[
        bool | None,
        typer.Option(
            "--fallback/--no-fallback",
            help="Go on without drafting when a component fails that drafts.",
            show_default="no fallback",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Generate text: stream it as it is accepted, then report."""
    from specframe.prompts import read_prompt

    settings = {
        "model": model,
        "strategy": strategy,
        "drafter": drafter,
        "verifier": verifier,
        "gather": gather,
        "max_new_tokens": max_new_tokens,
        "dtype": dtype,
        "device": device,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
        "fallback": fallback,
    }
    run_config = resolve_config(config, settings, option or ())
    text = read_prompt(prompt, prompt_file, stdin)

    # Imported late, and only after what was typed has been checked: torch takes seconds.
    from specframe.assembly import build_engine
    from specframe.report import to_json, to_rows
    from specframe.request import Request
    from specframe.tables import print_table

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
def models() -> None:
    """List the demo models.

    Whether they are installed, their licence, and the command that installs them.
    """
    from specframe.models import DEMO_MODELS
    from specframe.tables import print_table

    print_table(
        [
            (demo.name, "yes" if demo.installed else "no", demo.licence, demo.summary, demo.install)
            for demo in DEMO_MODELS.values()
        ],
        headers=("name", "installed", "licence", "what it is", "install with"),
    )


@app.command()
def train(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the checkpoint goes.")],
    drafter: Annotated[str, typer.Option(metavar="NAME", help="What to train.")] = _DEFAULTS["drafter"],
    model: ModelOption = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--option",
            metavar="NAME=VALUE",
            help="Option of the training; repeatable. `specframe plugins show drafter NAME` lists them.",
        ),
    ] = None,
) -> None:
    """Train a drafter for a target.

    The checkpoint is then used with `-o drafter.checkpoint=DIR`.
    """
    from specframe.config import split_assignment
    from specframe.training import train_drafter

    train_drafter(drafter, model, out, dict(map(split_assignment, option or ())))


@app.command()
def doctor(
    device: Annotated[
        str | None,
        _option("Torch device: cpu, cuda, cuda:1, ...", default=_DEFAULTS["device"], metavar="DEVICE"),
    ] = None,
    dtype: Annotated[
        str | None,
        _option(
            "Weights and activations: float32, bfloat16 or float16.",
            default=_DEFAULTS["dtype"],
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
        _option(
            "Load this target and check what ships for it.",
            default="none, or an installed demo model if there is a drafter to check",
            metavar="MODEL",
        ),
    ] = None,
    drafter: Annotated[
        str | None, _option("Check this drafter.", default=_DEFAULTS["drafter"], metavar="NAME")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        _option(
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
    from specframe.doctor import DoctorOptions, examine, is_broken, to_json, to_rows
    from specframe.tables import print_table

    findings = examine(
        DoctorOptions(
            device=device or _DEFAULTS["device"],
            dtype=dtype or _DEFAULTS["dtype"],
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
    from specframe.plugins import build_registry, create_plugin_manager
    from specframe.tables import print_table

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
    from specframe.options import describe
    from specframe.plugins import build_registry, create_plugin_manager
    from specframe.tables import print_table

    entry = build_registry(create_plugin_manager()).find(kind, name)
    component = entry.component
    print(f"{component.name}: {component.summary} (from {entry.distribution})")
    for title, options in (
        (f"Options: -o {entry.kind}.NAME=VALUE", component.options),
        ("Options of `specframe train`: -o NAME=VALUE", component.train_options),
    ):
        if options is not None:
            rows = [(o.name, o.type_name, o.default, o.unit, o.help) for o in describe(options)]
            print()
            print_table(rows, headers=("name", "type", "default", "unit", "what it does"), title=title)

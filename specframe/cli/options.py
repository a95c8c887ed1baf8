"""Options that several commands share, and what they add up to."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, get_type_hints

import attrs
import typer

from specframe.config import RunConfig, load_toml, merge_options, parse_options
from specframe.contracts.kinds import KINDS
from specframe.model.loading import default_model

_Own = ParamSpec("_Own")

DEFAULTS: dict[str, Any] = {field.name: field.default for field in attrs.fields(RunConfig)}


def option(help: str, *names: str, default: object, metavar: str | None = None) -> Any:
    """Declare an option that is None when it was not typed; the help says what happens then."""
    return typer.Option(*names, help=f"{help} [default: {default}]", metavar=metavar, show_default=False)


ModelOption = Annotated[
    str | None,
    option(
        "The target: a demo model (`specframe models` lists them), a hub id, a directory or a .gguf file.",
        default="an installed demo model",
        metavar="MODEL",
    ),
]

StopOption = Annotated[
    list[str] | None,
    typer.Option(metavar="TEXT", help="End the text right before this string. Repeatable."),
]
StopIdOption = Annotated[
    list[int] | None, typer.Option(metavar="ID", help="End at this token id. Repeatable.")
]


def _run_config(
    model: ModelOption = None,
    strategy: Annotated[
        str | None,
        option(
            "Which tokens the drafter may propose; `autoregressive` decodes without a drafter.",
            default=DEFAULTS["strategy"],
            metavar="NAME",
        ),
    ] = None,
    drafter: Annotated[
        str | None, option("What proposes tokens.", default=DEFAULTS["drafter"], metavar="NAME")
    ] = None,
    verifier: Annotated[
        str | None,
        option(
            "What accepts them; `auto` takes greedy at temperature 0 and sampling above.",
            default=DEFAULTS["verifier"],
            metavar="NAME",
        ),
    ] = None,
    gather: Annotated[
        str | None,
        option(
            "What packs the LM-head rows; `auto` takes the fastest that runs here.",
            default=DEFAULTS["gather"],
            metavar="NAME",
        ),
    ] = None,
    assignments: Annotated[
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
    max_new_tokens: Annotated[
        int | None, option("Length limit, tokens.", default=DEFAULTS["max_new_tokens"], metavar="N")
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
    device: Annotated[
        str | None,
        option("Torch device: cpu, cuda, cuda:1, ...", default=DEFAULTS["device"], metavar="DEVICE"),
    ] = None,
    temperature: Annotated[
        float | None,
        option(
            "Divides the target's logits; 0 decodes greedily, above 0 samples.",
            default=DEFAULTS["temperature"],
            metavar="T",
        ),
    ] = None,
    top_p: Annotated[
        float | None,
        option(
            "Sample from the most likely tokens that together have this probability.",
            default=DEFAULTS["top_p"],
            metavar="P",
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        option(
            "Sample from this many most likely tokens, 0 for all.", default=DEFAULTS["top_k"], metavar="K"
        ),
    ] = None,
    min_p: Annotated[
        float | None,
        option(
            "Sample from the tokens with at least this share of the most likely token's probability.",
            default=DEFAULTS["min_p"],
            metavar="P",
        ),
    ] = None,
    repetition_penalty: Annotated[
        float | None,
        option(
            "Above 1, tokens of the prompt and of the output become less likely; also in greedy decoding.",
            default=DEFAULTS["repetition_penalty"],
            metavar="R",
        ),
    ] = None,
    target_forward: Annotated[
        str | None,
        option(
            "What runs the target's layers: `transformers`, or `lean`, faster with a copy of the weights; "
            "`auto` takes lean on a CPU where it reproduces the model.",
            default=DEFAULTS["target_forward"],
            metavar="NAME",
        ),
    ] = None,
    cuda_graph: Annotated[
        bool | None,
        option(
            "Launch a whole draft step as one CUDA graph.",
            "--cuda-graph/--no-cuda-graph",
            default="--cuda-graph on a CUDA or ROCm device",
        ),
    ] = None,
    seed: Annotated[
        int | None, option("Seed of everything that is drawn.", default=DEFAULTS["seed"], metavar="N")
    ] = None,
    allow_lossy: Annotated[
        bool | None,
        option(
            "Let a verifier run whose output is not the target's.",
            "--allow-lossy/--no-allow-lossy",
            default="--no-allow-lossy",
        ),
    ] = None,
    fallback: Annotated[
        bool | None,
        option(
            "Go on without drafting when a component fails that drafts.",
            "--fallback/--no-fallback",
            default="--no-fallback",
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Say on standard error what was chosen, and why.")
    ] = False,
) -> RunConfig:
    """Return the config that the options add up to."""
    if verbose:
        _show_log()
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
        "target_forward": target_forward,
        "cuda_graph": cuda_graph,
        "seed": seed,
        "allow_lossy": allow_lossy,
        "fallback": fallback,
    }
    return resolve_config(config, settings, assignments or ())


def resolve_config(
    file: Path | None, settings: Mapping[str, Any], assignments: Iterable[str] = ()
) -> RunConfig:
    """Return the config of a run: the command line beats the TOML file, which beats the defaults.

    Args:
        file: TOML file, or None.
        settings: ``RunConfig`` fields from the command line; None stands for "not given".
        assignments: ``kind.name=value`` strings from the command line.

    Raises:
        UsageError: something is unknown or does not fit.
    """
    from_file = load_toml(file) if file is not None else {}
    options_in_file: dict[str, Any] = {kind: from_file.pop(kind) for kind in KINDS if kind in from_file}
    chosen = {**from_file, **{name: value for name, value in settings.items() if value is not None}}
    options = merge_options(options_in_file, parse_options(assignments))
    if "model" not in chosen:
        chosen["model"] = default_model()
    return RunConfig(**chosen, options=options)


class _Stderr(logging.Handler):
    """Writes one line per record to what is standard error at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        print("specframe:", record.getMessage(), file=sys.stderr)


def _show_log() -> None:
    """Let the user see what specframe logs about its choices."""
    log = logging.getLogger("specframe")
    log.handlers = [_Stderr()]
    log.setLevel(logging.INFO)


def takes_run_config(
    command: Callable[Concatenate[RunConfig, _Own], None], *, without: Collection[str] = ()
) -> Callable[..., None]:
    """Give a command every option of a run; it is called with the config they add up to.

    Args:
        command: takes the config first, and then options of its own.
        without: options that it does not get.
    """
    shared = [parameter for parameter in _parameters(_run_config) if parameter.name not in without]
    _, *own = _parameters(command)

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        config = _run_config(**{parameter.name: given.pop(parameter.name) for parameter in shared})
        command(config, **given)  # type: ignore[call-arg]  # typer calls with the signature below

    vars(wrapper)["__signature__"] = inspect.Signature([*shared, *own])
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in (*shared, *own)}
    return wrapper


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return a function's parameters with their annotations evaluated."""
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    return [parameter.replace(annotation=hints[parameter.name]) for parameter in parameters]

"""Flags from declarations: the fields of an attrs class become options of the command that takes one."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import attrs
import typer

from specframe.cli.completion import complete_assignment, completion_of
from specframe.config import SETTINGS, RunConfig, load_toml, merge_options, parse_options
from specframe.contracts.options import plain_type
from specframe.model.loading import default_model

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]

# Settings that come last in the help.
_SELDOM = ("seed", "allow_lossy", "fallback")


def takes_options(
    command: Callable[..., None],
    *,
    without: Collection[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> Callable[..., None]:
    """Give a command the options that the attrs classes among its parameters declare.

    Args:
        command: takes an instance of each class, among parameters of its own.
        without: options that it does not get.
        settings: of a run, by name, that have another default in this command.
    """
    own = settings or {}
    parameters: list[inspect.Parameter] = []
    classes: dict[str, tuple[Callable[..., Any], list[str]]] = {}
    for taken in _parameters(command):
        if not attrs.has(taken.annotation):
            parameters.append(taken)
            continue
        of_run = taken.annotation is RunConfig
        declared = _run_options(own) if of_run else _options(taken.annotation)
        declared = [parameter for parameter in declared if parameter.name not in without]
        build = functools.partial(_run_config, own) if of_run else taken.annotation
        classes[taken.name] = build, [parameter.name for parameter in declared]
        parameters += declared

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        built = {}
        for name, (build, names) in classes.items():
            values = {name: given.pop(name) for name in names}
            built[name] = build(**{name: value for name, value in values.items() if value is not None})
        command(**built, **given)

    vars(wrapper)["__signature__"] = inspect.Signature(parameters)
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def resolve_config(
    file: Path | None,
    settings: Mapping[str, Any],
    assignments: Iterable[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Return the config of a run: the command line beats the TOML file, which beats the defaults.

    Args:
        file: TOML file, or None.
        settings: ``SETTINGS`` from the command line; None stands for "not given".
        assignments: ``kind.name=value`` strings from the command line.
        defaults: ``SETTINGS`` that have another default here.

    Raises:
        UsageError: something is unknown or does not fit.
    """
    from_file = load_toml(file) if file is not None else {}
    options_in_file: dict[str, Any] = from_file.pop("options", {})
    chosen = {
        **(defaults or {}),
        **from_file,
        **{name: value for name, value in settings.items() if value is not None},
    }
    options = merge_options(options_in_file, parse_options(assignments))
    if "model" not in chosen:
        chosen["model"] = default_model()
    return RunConfig.of({**chosen, "options": options})


def _run_config(
    defaults: Mapping[str, Any],
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--option",
            metavar="KIND.NAME=VALUE",
            help="Option of a component, for example vocabulary.capacity=3072. Repeatable; "
            "`specframe plugins show` lists them.",
            autocompletion=complete_assignment,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Settings from a file; the command line beats it."),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Say on standard error what was chosen, and why.")
    ] = False,
    **settings: Any,
) -> RunConfig:
    """Return the config that the options of a run add up to."""
    if verbose:
        _show_log()
    return resolve_config(config, settings, assignments or (), defaults)


def _run_options(defaults: Mapping[str, Any]) -> list[inspect.Parameter]:
    """Return the options of a run, in the order of the help; none has a value unless it was typed.

    Args:
        defaults: of settings that have another one here.
    """
    _, assignments, config, verbose, _ = _parameters(_run_config)
    first: list[inspect.Parameter] = []
    last: list[inspect.Parameter] = []
    for name, declaring in SETTINGS.items():
        field = attrs.fields_dict(declaring)[name]
        if name == "options":
            first += [assignments, config]
        elif field.metadata["flags"] is not None:
            shown = str(defaults[name]) if name in defaults else _shown(field)
            (last if name in _SELDOM else first).append(_option(declaring, field, absent=shown))
    return [*first, *last, verbose]


def _shown(field: attrs.Attribute[Any]) -> str:
    """Return what happens when a setting is not typed."""
    if isinstance(field.default, bool):
        return f"--{'' if field.default else 'no-'}{field.name.replace('_', '-')}"
    return field.metadata["absent"] or str(field.default)


def _options(declaring: type[Any]) -> list[inspect.Parameter]:
    """Return the options that the fields of an attrs class declare."""
    return [
        _option(declaring, field, field.metadata["absent"])
        for field in attrs.fields(declaring)
        if field.metadata.get("flags") is not None
    ]


def _option(declaring: type[Any], field: attrs.Attribute[Any], absent: str | None) -> inspect.Parameter:
    """Return the option that a field declares; without a default it is an argument.

    Args:
        declaring: the attrs class.
        field: of it, made by ``option``.
        absent: what the help says happens when the option is not typed, which is then None; None where the
            default says it.
    """
    about, flag = field.metadata, field.name.replace("_", "-")
    kind: Any = plain_type(declaring, field.name)
    default, help = field.default, about["help"]
    if default is attrs.NOTHING:
        argument: Any = Annotated[kind, typer.Argument(metavar=about["metavar"], help=help)]
        return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, annotation=argument)
    if absent is not None:
        default, help = None, f"{help} [default: {absent}]"
    elif default == ():
        default = None
    flags = about["flags"]
    if kind is bool and not flags:
        flags = [f"--{flag}"] if default is False else [f"--{flag}/--no-{flag}"]
    typed = typer.Option(
        *flags,
        help=help,
        metavar=about["metavar"],
        min=about["minimum"],
        show_default=absent is None,
        autocompletion=completion_of(declaring, field.name),
    )
    annotation: Any = Annotated[kind | None if default is None else kind, typed]
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return a function's parameters with their annotations evaluated."""
    hints = get_type_hints(function, include_extras=True)
    return [
        parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(function).parameters.values()
    ]


class _Stderr(logging.Handler):
    """Writes one line per record to what is standard error at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        print("specframe:", record.getMessage(), file=sys.stderr)


def _show_log() -> None:
    """Let the user see what specframe logs about its choices."""
    log = logging.getLogger("specframe")
    log.handlers = [_Stderr()]
    log.setLevel(logging.INFO)

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
from specframe.cli.settings import FILE_VARIABLE, GivenSettings, apply_settings
from specframe.config import SETTINGS, RunConfig, parse_options
from specframe.contracts.options import plain_type
from specframe.errors import UsageError
from specframe.model.loading import default_model
from specframe.ops.notes import be_quiet

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]

# Where a command keeps what happens when its options are not given.
ABSENT = "specframe_absent"
_CONTEXT = "specframe_context"
_KEYWORD = inspect.Parameter.KEYWORD_ONLY

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
    absent: dict[str, str] = {}
    own_context: str | None = None
    run: str | None = None
    for taken in _parameters(command):
        if taken.annotation is typer.Context:
            own_context = taken.name
        if not attrs.has(taken.annotation):
            parameters.append(taken)
            continue
        of_run = taken.annotation is RunConfig
        run = taken.name if of_run else run
        declared = _run_options(own) if of_run else _options(taken.annotation)
        declared = [parameter for parameter in declared if parameter.name not in without]
        build = functools.partial(_run_config, own) if of_run else taken.annotation
        classes[taken.name] = build, [parameter.name for parameter in declared]
        absent |= _said_of_defaults(taken.annotation, own if of_run else {})
        parameters += declared
    common = _common_options(of_run=run is not None)
    if own_context is None:
        common = [inspect.Parameter(_CONTEXT, _KEYWORD, annotation=typer.Context), *common]
    parameters += common

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        context: typer.Context = given[own_context] if own_context else given.pop(_CONTEXT)
        quiet = given.pop("quiet") or _is_quiet_above(context)
        be_quiet(quiet)
        logging.disable(logging.WARNING if quiet else logging.NOTSET)
        _show_log(given.pop("verbose") and not quiet)
        del given["config"]
        found = GivenSettings.of(context)
        found.say_what_is_left_out(context)
        built = {}
        for name, (build, names) in classes.items():
            values = {name: given.pop(name) for name in names}
            if "assignments" in values:
                values["assignments"] = [*found.assignments(context), *(values["assignments"] or ())]
            if name == run:
                values |= found.unflagged()
            values = {name: value for name, value in values.items() if value is not None}
            built[name] = found.build(build, values, context)
        try:
            command(**built, **given)
        except UsageError as error:
            raise found.blamed(error, context) from error.__cause__

    vars(wrapper)["__signature__"] = inspect.Signature(parameters)
    vars(wrapper)[ABSENT] = absent
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def resolve_config(
    settings: Mapping[str, Any],
    assignments: Iterable[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Return the config of a run.

    Args:
        settings: ``SETTINGS`` that were given; None stands for "not given".
        assignments: ``kind.name=value`` strings; the last of a name counts.
        defaults: ``SETTINGS`` that have another default here.

    Raises:
        UsageError: something is unknown or does not fit.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    chosen = {**(defaults or {}), **given}
    if "model" not in chosen:
        chosen["model"] = default_model()
    return RunConfig.of({**chosen, "options": parse_options(assignments)})


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
    **settings: Any,
) -> RunConfig:
    """Return the config that the options of a run add up to."""
    return resolve_config(settings, assignments or (), defaults)


def _common_options(*, of_run: bool) -> list[inspect.Parameter]:
    """Return the options of every command; the file is read before any other option is looked at.

    Args:
        of_run: the command takes what is at a file's top.
    """

    def read(context: typer.Context, value: Path | None) -> Path | None:
        if not context.resilient_parsing:
            apply_settings(context, value, of_run=of_run)
        return value

    file = typer.Option(
        metavar="FILE.toml",
        help="Settings from a file; variables and the command line beat it.",
        envvar=FILE_VARIABLE,
        is_eager=True,
        callback=read,
    )
    verbose = typer.Option("-v", "--verbose", help="Say on standard error what was chosen, and why.")
    quiet = typer.Option("-q", "--quiet", help="Print results and errors only: no progress and no notes.")
    return [
        inspect.Parameter("config", _KEYWORD, default=None, annotation=Annotated[Path | None, file]),
        inspect.Parameter("verbose", _KEYWORD, default=False, annotation=Annotated[bool, verbose]),
        inspect.Parameter("quiet", _KEYWORD, default=False, annotation=Annotated[bool, quiet]),
    ]


def _is_quiet_above(context: typer.Context) -> bool:
    """Return whether a command above this one was told to be quiet."""
    return context.parent is not None and bool(context.parent.params.get("quiet"))


def _run_options(defaults: Mapping[str, Any]) -> list[inspect.Parameter]:
    """Return the options of a run, in the order of the help; none has a value unless it was typed.

    Args:
        defaults: of settings that have another one here.
    """
    _, assignments, _ = _parameters(_run_config)
    first: list[inspect.Parameter] = []
    last: list[inspect.Parameter] = []
    for name, declaring in SETTINGS.items():
        field = attrs.fields_dict(declaring)[name]
        if name == "options":
            first.append(assignments)
        elif field.metadata["flags"] is not None:
            shown = str(defaults[name]) if name in defaults else _shown(field)
            (last if name in _SELDOM else first).append(_option(declaring, field, absent=shown))
    return [*first, *last]


def _said_of_defaults(declaring: type[Any], defaults: Mapping[str, Any]) -> dict[str, str]:
    """Return what happens when an option is not given, by its name, where its default does not say it."""
    if declaring is RunConfig:
        fields = {name: attrs.fields_dict(of)[name] for name, of in SETTINGS.items() if name != "options"}
        said = {
            name: defaults.get(name, field.metadata["absent"] or field.default)
            for name, field in fields.items()
        }
        return {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in said.items()
        }
    fields = attrs.fields_dict(declaring)
    return {name: field.metadata["absent"] for name, field in fields.items() if field.metadata.get("absent")}


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
        return inspect.Parameter(field.name, _KEYWORD, annotation=argument)
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
    return inspect.Parameter(field.name, _KEYWORD, default=default, annotation=annotation)


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return a function's parameters with their annotations evaluated."""
    hints = get_type_hints(function, include_extras=True)
    return [
        parameter.replace(annotation=hints[parameter.name], kind=_KEYWORD)
        for parameter in inspect.signature(function).parameters.values()
    ]


class _Stderr(logging.Handler):
    """Writes one line per record to what is standard error at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        print("specframe:", record.getMessage(), file=sys.stderr)


def _show_log(wanted: bool) -> None:
    """Let the user see what specframe logs about its choices, or no longer."""
    log = logging.getLogger("specframe")
    ours = [handler for handler in log.handlers if isinstance(handler, _Stderr)]
    if wanted and not ours:
        log.addHandler(_Stderr())
        log.setLevel(logging.INFO)
    elif ours and not wanted:
        log.removeHandler(ours[0])
        log.setLevel(logging.NOTSET)

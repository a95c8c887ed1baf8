"""Options: attrs classes with help and bounds, from ``-o key=value``, TOML, or flags of the command line."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import click

from specframe.errors import OptionError, UsageError, unknown_name


def option(
    default: Any = attrs.NOTHING,
    *,
    help: str,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    tune: Sequence[Any] | None = None,
    flags: Sequence[str] | None = (),
    metavar: str | None = None,
    absent: str | None = None,
) -> Any:
    """Declare one option as a field of an attrs class.

    The annotation of the field decides what is accepted: ``int``, ``float``, ``bool``, ``str``, ``Path``,
    a ``Literal`` of strings, or any of these ``| None`` (written ``none``). A flag of the command line may
    also be a sequence, and then is repeatable. The last three arguments are for flags alone.

    Args:
        default: value when the user gives none; without it the option is required.
        help: one line for ``specframe plugins show``.
        unit: unit of the value, for example ``"tokens"``.
        minimum: smallest number allowed.
        maximum: largest number allowed.
        tune: values that ``specframe replay --tune`` tries, in rising order; a single one keeps it from
            being searched. Without them it searches a ``bool``, a ``Literal``, and an ``int`` that has both
            bounds.
        flags: how the flag is written, where that does not follow from the name; None: there is no flag.
        metavar: what the help calls the value.
        absent: what happens when the flag is not given, where the default does not say it.
    """
    about = dict(locals())  # every argument by its name
    return attrs.field(default=about.pop("default"), metadata=about)


def same_option(options_class: type[Any], name: str, **changes: Any) -> Any:
    """Declare an option that another class has, with another ``default`` or other metadata."""
    field = attrs.fields_dict(options_class)[name]
    default = changes.pop("default", field.default)
    return attrs.field(default=default, metadata={**field.metadata, **changes})


def plain_type(options_class: type[Any], name: str) -> Any:
    """Return the type of an option's values as they are typed or written in TOML, none aside.

    Args:
        options_class: attrs class with fields made by ``option``.
        name: of the field.

    Returns:
        ``int``, ``float``, ``bool``, ``str``, ``Path``, or a ``list`` of one of these.
    """
    annotation, _ = _without_none(typing.get_type_hints(options_class)[name])
    if typing.get_origin(annotation) is Literal:
        return str
    if typing.get_origin(annotation) is Sequence:
        return list[typing.get_args(annotation)[0]]  # type: ignore[misc]  # a type made at run time
    return annotation


@attrs.frozen(slots=True)
class OptionInfo:
    """One option, described for people."""

    name: str
    type_name: str
    default: str
    unit: str
    help: str


def describe(options_class: type[Any]) -> list[OptionInfo]:
    """Return every option of an options class, in order of declaration."""
    return [
        OptionInfo(
            name=field.name,
            type_name=_type_name(*_accepted(options_class, field)),
            default="(required)" if field.default is attrs.NOTHING else _shown(field.default),
            unit=field.metadata.get("unit", ""),
            help=field.metadata.get("help", ""),
        )
        for field in attrs.fields(options_class)
    ]


def search_space(options_class: type[Any]) -> dict[str, Sequence[Any]]:
    """Return the values to try of every option that can be searched, in order of declaration."""
    space: dict[str, Sequence[Any]] = {}
    for field in attrs.fields(options_class):
        values = field.metadata.get("tune")
        param, _ = _accepted(options_class, field)
        if values is None and param is click.BOOL:
            values = (False, True)
        elif values is None and isinstance(param, click.Choice):
            values = tuple(param.choices)
        elif values is None and isinstance(param, click.IntRange) and None not in (param.min, param.max):
            values = range(int(param.min or 0), int(param.max or 0) + 1)
        if values is not None and len(values) > 1:
            space[field.name] = values
    return space


def build_options(options_class: type[Any], values: Mapping[str, Any], owner: str) -> Any:
    """Return an instance of an options class from strings or TOML values.

    Args:
        options_class: attrs class with fields made by ``option``.
        values: option name to value; strings are converted.
        owner: who the options belong to, for errors, for example ``"vocabulary 'nanospec'"``.

    Raises:
        UsageError: an unknown option, a value that does not fit, or a required option left out.
    """
    fields = {field.name: field for field in attrs.fields(options_class)}
    converted = {}
    for name, value in values.items():
        if name not in fields:
            raise OptionError(str(unknown_name(f"option of {owner}", name, fields)), owner, name)
        param, optional = _accepted(options_class, fields[name])
        try:
            converted[name] = _convert(value, param, optional)
        except (click.BadParameter, TypeError):  # a list or an object makes no number
            allowed = _type_name(param, optional)
            message = f"option {name} of {owner} is {value!r}; allowed: {allowed}"
            raise OptionError(message, owner, name) from None
    missing = [name for name, f in fields.items() if f.default is attrs.NOTHING and name not in converted]
    if missing:
        raise UsageError(f"{owner} needs option {missing[0]}: {fields[missing[0]].metadata['help']}")
    try:
        return options_class(**converted)
    except ValueError as error:
        raise UsageError(f"options of {owner}: {error}") from None


def _accepted(options_class: type[Any], field: attrs.Attribute[Any]) -> tuple[click.ParamType[Any], bool]:
    """Return the click type of a field, and whether it also accepts none."""
    annotation, optional = _without_none(typing.get_type_hints(options_class)[field.name])
    low, high = field.metadata.get("minimum"), field.metadata.get("maximum")
    if typing.get_origin(annotation) is Literal:
        return click.Choice([str(choice) for choice in typing.get_args(annotation)]), optional
    if annotation is bool:
        return click.BOOL, optional
    if annotation is int:
        return click.IntRange(low, high) if (low, high) != (None, None) else click.INT, optional
    if annotation is float:
        return click.FloatRange(low, high) if (low, high) != (None, None) else click.FLOAT, optional
    if annotation is Path:
        return click.Path(path_type=Path), optional
    if annotation is str:
        return click.STRING, optional
    raise TypeError(f"option {field.name!r}: {annotation!r} is not a type that option() accepts")


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """Return an annotation without None, and whether it had that."""
    choices = typing.get_args(annotation)
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType) or type(None) not in choices:
        return annotation, False
    rest = tuple(choice for choice in choices if choice is not type(None))
    return typing.Union[rest], True  # noqa: UP007 - built at run time; of one alone it is that one


def _convert(value: Any, param: click.ParamType[Any], optional: bool) -> Any:
    if optional and (value is None or value == "none"):
        return None
    if isinstance(value, bool) and param is not click.BOOL:
        raise click.BadParameter(f"{str(value).lower()!r} is not valid here.")
    if isinstance(value, float) and isinstance(param, click.types.IntParamType):
        raise click.BadParameter(f"{value!r} is not a valid integer.")
    converted = param.convert(value, None, None)
    if isinstance(converted, float) and not math.isfinite(converted):
        raise click.BadParameter(f"{value!r} is not a finite number.")
    return converted


def _type_name(param: click.ParamType[Any], optional: bool) -> str:
    if isinstance(param, click.Choice):
        name = "|".join(str(choice) for choice in param.choices)
    elif isinstance(param, click.IntRange | click.FloatRange):
        kind = "integer" if isinstance(param, click.IntRange) else "number"
        bounds = [
            f">= {param.min:g}" if param.min is not None else "",
            f"<= {param.max:g}" if param.max is not None else "",
        ]
        name = " ".join([kind, *filter(None, bounds)])
    else:
        name = {"float": "number", "boolean": "true|false"}.get(param.name, param.name)
    return f"{name} or none" if optional else name


def _shown(value: Any) -> str:
    return (
        {None: "none", True: "true", False: "false"}[value] if isinstance(value, bool | None) else str(value)
    )

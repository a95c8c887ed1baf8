"""Options: attrs classes with help and bounds, from ``-o key=value``, TOML, or flags of the command line."""

from __future__ import annotations

import functools
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import click

from specframe.errors import OptionError, UsageError, one_line, shown, unknown_name


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
        for field in _fields(options_class)
    ]


def search_space(options_class: type[Any]) -> dict[str, Sequence[Any]]:
    """Return the values to try of every option that can be searched, in order of declaration."""
    space: dict[str, Sequence[Any]] = {}
    for field in _fields(options_class):
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
    fields = {field.name: field for field in _fields(options_class)}
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


def check_options_class(options_class: Any) -> None:
    """Raise a ``ValueError`` unless a class declares options that can be described, set and left out.

    Args:
        options_class: whatever stands in the place of one.
    """
    if not (isinstance(options_class, type) and attrs.has(options_class)):
        raise ValueError(f"options are {shown(options_class)}; allowed: a class made with attrs.frozen")
    _check_fields(options_class)


@functools.cache  # a class is looked at whenever a component with it is made
def _check_fields(options_class: type[Any]) -> None:
    fields = _fields(options_class)
    for field in fields:
        owner = _of(options_class, field)
        if not field.metadata.keys() >= {"help", "minimum", "maximum", "tune"}:
            raise ValueError(f"{owner} is not made with option(); allowed: option(DEFAULT, help=...)")
        if field.alias != field.name:
            raise ValueError(f"{owner} begins with an underscore; allowed: a name that users can type")
    try:
        hints = typing.get_type_hints(options_class)
    except Exception as error:  # annotations may be any expression
        raise ValueError(
            f"the annotations of {options_class.__name__} cannot be read, {one_line(error)}; allowed: types "
            "that are imported at run time"
        ) from None
    for field in fields:
        _check_field(options_class, field, hints[field.name])


def _fields(options_class: type[Any]) -> list[attrs.Attribute[Any]]:
    """Return the fields that are options; what a class works out for itself is none."""
    return [field for field in attrs.fields(options_class) if field.init]


def _check_field(options_class: type[Any], field: attrs.Attribute[Any], annotation: Any) -> None:
    """Raise a ``ValueError`` where the type, help, a bound, the default or a value to try is of no use."""
    about, owner = field.metadata, _of(options_class, field)
    if not isinstance(about["help"], str) or not about["help"].strip():
        raise ValueError(f"{owner} has the help {shown(about['help'])}; allowed: a line of text")
    bounds = [about[name] for name in ("minimum", "maximum")]
    for bound in bounds:
        number = isinstance(bound, int | float) and not isinstance(bound, bool) and not math.isnan(bound)
        if bound is not None and not number:
            raise ValueError(f"{owner} has the bound {shown(bound)}; allowed: a number")
    if None not in bounds and bounds[0] > bounds[1]:
        raise ValueError(f"{owner} has the minimum {bounds[0]} above the maximum {bounds[1]}")
    try:
        param, optional = _param(annotation, field)
    except TypeError as error:
        raise ValueError(f"{error}, in {options_class.__name__}") from None
    allowed = _type_name(param, optional)
    if field.default is not attrs.NOTHING and not _is_value(field.default, param, optional):
        raise ValueError(f"{owner} has the default {shown(field.default)}; allowed: {allowed}")
    for value in about["tune"] or ():
        if not _is_value(value, param, optional):
            raise ValueError(f"{owner} is to be tuned with {shown(value)}; allowed: {allowed}")


def _of(options_class: type[Any], field: attrs.Attribute[Any]) -> str:
    return f"option {field.name!r} of {options_class.__name__}"


def _is_value(value: Any, param: click.ParamType[Any], optional: bool) -> bool:
    """Return whether something is a value of an option, and no text that would have to be converted."""
    try:
        converted = _convert(value, param, optional)
        return bool(converted == value) and isinstance(value, bool) == isinstance(converted, bool)
    except Exception:  # a stranger's value may fail in anything
        return False


def _accepted(options_class: type[Any], field: attrs.Attribute[Any]) -> tuple[click.ParamType[Any], bool]:
    """Return the click type of a field, and whether it also accepts none."""
    return _param(typing.get_type_hints(options_class)[field.name], field)


def _param(annotation: Any, field: attrs.Attribute[Any]) -> tuple[click.ParamType[Any], bool]:
    """Return the click type of a field by its annotation, and whether it also accepts none."""
    annotation, optional = _without_none(annotation)
    low, high = field.metadata.get("minimum"), field.metadata.get("maximum")
    if typing.get_origin(annotation) is Literal:
        choices = typing.get_args(annotation)
        if all(isinstance(choice, str) for choice in choices):
            return click.Choice(choices), optional
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
    named = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    raise TypeError(
        f"option {field.name!r}: {named} is no type of one; allowed: int, float, bool, str, Path, a "
        "Literal of strings, or one of these | None"
    )


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

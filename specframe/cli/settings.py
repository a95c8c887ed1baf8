"""Settings that are not typed: from a TOML file and from variables, and where each came from.

A file's top is for what runs a model as ``specframe run`` does, a table for the command of its name; a
variable is a key of a file, written as one word. What a command gets this way becomes the default of its
options, so that what is typed beats it.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import attrs
import typer

from specframe.config import OF_ALL_COMMANDS, SETTINGS, RunPart, read_toml, unknown_setting
from specframe.contracts.kinds import KINDS
from specframe.errors import OptionError, UnknownName, UsageError, unknown_name
from specframe.ops.notes import note

PREFIX = "SPECFRAME_"
FILE_VARIABLE = f"{PREFIX}CONFIG"
# Variables that are no settings of a command.
OTHER_VARIABLES = (
    FILE_VARIABLE,
    *(
        f"{PREFIX}{name}"
        for name in (
            "CACHE",
            "DISABLE_PLUGINS",
            "METRICS",
            "TEST_OUTCOMES",
            "TRACEBACK",
            "VLLM",
            "VLLM_METRICS",
        )
    ),
)
# What comes between a component and its option in a variable, as a dot does in ``-o``.
_DOT = "__"
# The group of options of a command that has those of one component alone.
_OPTIONS = "options"
_LABELS: Mapping[str, str] = {kind.name: kind.label for kind in KINDS.values()}
_IN_CONTEXT = "specframe.settings"
_TRUTH = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)


@attrs.frozen(slots=True)
class Given:
    """A value, and where it was found, for example ``settings.toml, [bench] limit_per_task``."""

    value: Any
    where: str


@attrs.define(slots=True)
class Layer:
    """What one place says: a file's top, its table of the command, variables of all, those of the command.

    Attributes:
        values: by key.
        options: of components, by group: a kind, or ``options``.
    """

    values: dict[str, Given] = attrs.field(factory=dict)
    options: dict[str, dict[str, Given]] = attrs.field(factory=dict)


@attrs.frozen(slots=True)
class CommandKeys:
    """What may be set for one command.

    Attributes:
        path: the words that it is typed by.
        parameters: its options by key, which is the flag without dashes.
        groups: of component options, with the key that chooses the component.
        of_run: it takes what is at a file's top.
        below: names of commands below it.
    """

    path: tuple[str, ...]
    parameters: Mapping[str, Any]
    groups: Mapping[str, str]
    of_run: bool
    below: Sequence[str]

    @classmethod
    def of(cls, context: typer.Context, *, of_run: bool) -> Self:
        """Return those of a command that is about to run."""
        parameters: dict[str, Any] = {}
        groups: dict[str, str] = {}
        for parameter in context.command.params:
            if parameter.param_type_name != "option" or parameter.name == "config":
                continue
            if parameter.name == "assignments":
                kinds = str(parameter.metavar).startswith("KIND.")
                groups = (
                    {kind.name: kind.setting for kind in KINDS.values()} if kinds else {_OPTIONS: "drafter"}
                )
            else:
                parameters[key_of(parameter)] = parameter
        path: list[str] = []
        above: Any = context
        while above.parent is not None:
            path.insert(0, str(above.info_name))
            above = above.parent
        return cls(tuple(path), parameters, groups, of_run, _commands(context))

    @property
    def prefix(self) -> str:
        """What its variables begin with."""
        return variables_of(self.path)

    @property
    def shared(self) -> list[str]:
        """Keys that it takes from a file's top and from variables without its name."""
        run = [key for key in SETTINGS if key in self.parameters or _is_unflagged(key)] if self.of_run else []
        return [*run, *(key for key in OF_ALL_COMMANDS if key in self.parameters)]

    def shared_groups(self) -> list[str]:
        """Return the groups of options likewise: those whose component can be chosen."""
        return [group for group, key in self.groups.items() if key in self.parameters] if self.of_run else []


@attrs.define(slots=True, eq=False)
class GivenSettings:
    """Everything that was set for a command without being typed, the weakest layer first."""

    keys: CommandKeys
    layers: list[Layer]

    @classmethod
    def of(cls, context: typer.Context) -> GivenSettings:
        """Return those of the running command."""
        found: GivenSettings = context.meta[_IN_CONTEXT]
        return found

    def in_force(self) -> dict[str, Given]:
        """Return by key what holds where nothing is typed."""
        return {key: given for layer in self.layers for key, given in layer.values.items()}

    def unflagged(self) -> dict[str, Any]:
        """Return settings of a run that have no flag."""
        return {key: given.value for key, given in self.in_force().items() if key not in self.keys.parameters}

    def origin(self, context: typer.Context, parameter: str) -> str:
        """Return where a parameter's value came from."""
        if _is_typed(context, parameter):
            return "command line"
        given = self.in_force()
        for key, one in self.keys.parameters.items():
            if one.name == parameter and key in given:
                return given[key].where
        return "default"

    def options(self, context: typer.Context) -> dict[tuple[str, str], Given]:
        """Return the options of components by group and name.

        Options belong to the component that is chosen in the same place, or where none is, to whichever
        runs; those of another one are left out.
        """
        found: dict[tuple[str, str], Given] = {}
        for layer, group, options in self._by_group():
            if self._is_for(layer, group, context):
                found |= {(group, name): given for name, given in options.items()}
        return found

    def assignments(self, context: typer.Context) -> list[str]:
        """Return the same as they would be typed after ``-o``."""
        return [
            (name if group == _OPTIONS else f"{group}.{name}") + f"={_text(given.value)}"
            for (group, name), given in self.options(context).items()
        ]

    def say_what_is_left_out(self, context: typer.Context) -> None:
        """Say which options are for another component than the one that runs."""
        for layer, group, options in self._by_group():
            if options and not self._is_for(layer, group, context):
                chosen = layer.values[self.keys.groups[group]].value
                where = ", ".join(given.where for given in options.values())
                note(f"left out {where}: for {self.keys.groups[group]} {chosen}, which does not run")

    def blamed(self, error: UsageError, context: typer.Context) -> UsageError:
        """Return an error about a component with the place that the wrong name or value was found in."""
        where: list[str] = []
        if isinstance(error, OptionError):
            typed = context.params.get("assignments") or ()
            where = [
                given.where
                for (group, name), given in self.options(context).items()
                if name == error.name
                and (group == _OPTIONS or error.owner.startswith(f"{_LABELS[group]} "))
                and not any(one.partition("=")[0].strip().endswith(name) for one in typed)
            ]
        elif isinstance(error, UnknownName):
            where = [
                given.where
                for key, given in self.in_force().items()
                if given.value == error.name and not _is_typed(context, self._name(key))
            ]
        return UsageError(f"{where[0]}: {error}") if where else error

    def build(self, build: Callable[..., Any], values: Mapping[str, Any], context: typer.Context) -> Any:
        """Return what is built from values by parameter; an error names the place of the wrong one.

        It is the one without which there is no error.

        Raises:
            UsageError: as ``build`` does.
        """
        try:
            return build(**values)
        except UsageError as error:
            for key, given in self.in_force().items():
                name = self._name(key)
                if name in values and not _is_typed(context, name):
                    try:
                        build(**{other: value for other, value in values.items() if other != name})
                    except (UsageError, TypeError):
                        continue
                    raise UsageError(f"{given.where}: {error}") from None
            raise

    def _name(self, key: str) -> str:
        """Return the parameter of a key."""
        return self.keys.parameters[key].name if key in self.keys.parameters else key

    def _by_group(self) -> Iterator[tuple[Layer, str, Mapping[str, Given]]]:
        for layer in self.layers:
            for group, options in layer.options.items():
                yield layer, group, options

    def _is_for(self, layer: Layer, group: str, context: typer.Context) -> bool:
        chooses = self.keys.groups[group]
        if chooses not in layer.values:
            return True
        return bool(context.params.get(self._name(chooses)) == layer.values[chooses].value)


def apply_settings(context: typer.Context, file: Path | None, *, of_run: bool) -> GivenSettings:
    """Make what a file and variables say the defaults of a command that is about to be parsed.

    Args:
        context: of the command.
        file: TOML file, or None.
        of_run: the command takes what is at a file's top.

    Raises:
        UsageError: the file or a variable names something unknown, or has a value that does not fit.
    """
    keys = CommandKeys.of(context, of_run=of_run)
    layers = [*_from_file(file, keys, context), *_from_variables(keys)]
    settings = GivenSettings(keys, layers)
    context.meta[_IN_CONTEXT] = settings
    context.default_map = {
        keys.parameters[key].name: _converted(given, keys.parameters[key], context)
        for key, given in settings.in_force().items()
        if key in keys.parameters
    }
    return settings


def key_of(parameter: Any) -> str:
    """Return the key of an option: its long flag, with underscores."""
    return str(max(parameter.opts, key=len)).lstrip("-").replace("-", "_")


def variables_of(path: Sequence[str]) -> str:
    """Return what the variables of a command begin with, by the words that it is typed by."""
    return "".join([PREFIX, *(f"{_word(name)}_" for name in path)])


def variable_of(keys: CommandKeys, key: str, group: str | None = None) -> str:
    """Return the variable of a key, or of an option of a group, the shortest one."""
    shared = key in keys.shared if group is None else group in keys.shared_groups()
    name = _word(key) if group is None else f"{_word(group)}{_DOT}{_word(key)}"
    return (PREFIX if shared else keys.prefix) + name


def _from_file(file: Path | None, keys: CommandKeys, context: typer.Context) -> Iterator[Layer]:
    if file is None:
        return
    table, names = read_toml(file), _commands(context.find_root())
    top = RunPart.of({key: value for key, value in table.items() if key not in names}, str(file))
    for key in top.rest:
        if key not in OF_ALL_COMMANDS:
            raise unknown_setting(file, key, names)
    layer = Layer()
    for key, value in {**top.settings, **top.rest}.items():
        if key in keys.shared:
            layer.values[key] = Given(value, f"{file}, {key}")
    for group in keys.shared_groups():
        layer.options[group] = _options_in(top.options.get(group, {}), f"{file}, [{group}]")
    yield layer
    for depth, name in enumerate(keys.path):
        table = table.get(name, {})
        if not isinstance(table, dict):
            raise UsageError(f"{file}: {'.'.join(keys.path[: depth + 1])} must be a table of settings")
    yield _own_table(table, file, keys)


def _own_table(table: Mapping[str, Any], file: Path, keys: CommandKeys) -> Layer:
    """Return what the table of a command says."""
    layer, path = Layer(), ".".join(keys.path)
    where = f"{file}, [{path}]"
    kinds = {name: value for name, value in table.items() if name in keys.groups and name in KINDS}
    part = RunPart.of({name: value for name, value in kinds.items() if isinstance(value, dict)}, where)
    own = {name: value for name, value in table.items() if not isinstance(kinds.get(name), dict)}
    for group, options in part.options.items():
        layer.options[group] = _options_in(options, f"{file}, [{path}.{group}]")
    if isinstance(own.get(_OPTIONS), dict) and _OPTIONS in keys.groups:
        layer.options[_OPTIONS] = _options_in(own.pop(_OPTIONS), f"{file}, [{path}.{_OPTIONS}]")
    for key, value in {**part.settings, **own}.items():
        if key in keys.below and isinstance(value, dict):
            continue
        unflagged = keys.of_run and _is_unflagged(key)
        if key not in keys.parameters and not unflagged:
            raise unknown_name(f"setting in {where}", key, [*keys.parameters, *keys.groups, *keys.below])
        if keys.of_run and key in SETTINGS:
            value = RunPart.of({key: value}, where).settings[key]
        layer.values[key] = Given(value, f"{where} {key}")
    return layer


def _options_in(options: Mapping[str, Any], where: str) -> dict[str, Given]:
    for name, value in options.items():
        if not isinstance(value, bool | int | float | str):
            raise UsageError(f"{where}: {name} = {value!r} must be a text, a number, true or false")
    return {name: Given(value, f"{where} {name}") for name, value in options.items()}


def _from_variables(keys: CommandKeys) -> Iterator[Layer]:
    """Yield what variables of all commands say, and what those of this one do; an empty one says nothing."""
    own = keys.prefix if keys.path else None
    shared, of_command = Layer(), Layer()
    known = [*OTHER_VARIABLES, *(PREFIX + _word(key) for key in [*SETTINGS, *OF_ALL_COMMANDS])]
    for variable, value in sorted(os.environ.items()):
        if not variable.startswith(PREFIX) or not value or variable in OTHER_VARIABLES:
            continue
        if own is not None and variable.startswith(own) and not _is_below(variable, keys):
            key, group = _key_in(variable.removeprefix(own), [*keys.parameters], [*keys.groups])
            if key is None:
                allowed = [own + _word(name) for name in keys.parameters]
                raise unknown_name("variable", variable, allowed)
            _put(of_command, group, key, Given(value, variable))
            continue
        key, group = _key_in(variable.removeprefix(PREFIX), keys.shared, keys.shared_groups())
        if key is not None:
            _put(shared, group, key, Given(value, variable))
        elif variable not in known:
            nearest = difflib.get_close_matches(variable, known, n=1, cutoff=0.85)
            if nearest:
                note(f"nothing reads the variable {variable}; did you mean {nearest[0]!r}?")
    yield shared
    yield of_command


def _key_in(word: str, keys: Sequence[str], groups: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the key that a variable is about without its prefix, and its group if it is an option."""
    group, dot, name = word.partition(_DOT)
    if dot and name and group.lower() in groups:
        return name.lower(), group.lower()
    return next((key for key in keys if _word(key) == word), None), None


def _put(layer: Layer, group: str | None, key: str, given: Given) -> None:
    place = layer.values if group is None else layer.options.setdefault(group, {})
    place[key] = given


def _is_below(variable: str, keys: CommandKeys) -> bool:
    """Return whether a variable is about a command below this one."""
    return any(variable.startswith(f"{keys.prefix}{_word(name)}_") for name in keys.below)


def _converted(given: Given, parameter: Any, context: typer.Context) -> Any:
    """Return a value as it would be typed.

    Raises:
        UsageError: it does not fit the option.
    """
    value = given.value
    try:
        if parameter.multiple:
            value = [_text(one) for one in _listed(value, given.where)]
        elif parameter.is_flag:
            value = _truth(value)
        elif isinstance(value, bool | list | dict):
            raise typer.BadParameter(f"{_text(value)!r} is not valid here.")
        else:
            value = _text(value)
        parameter.process_value(context, value)
    except typer.BadParameter as error:
        raise UsageError(f"{given.where} is {given.value!r}: {error.message}") from None
    return value


def _truth(value: Any) -> bool:
    found = _TRUTH.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise typer.BadParameter(f"{value!r} is neither true nor false.")
    return found


def _listed(value: Any, where: str) -> list[Any]:
    """Return the values of an option that may be repeated: a list, one alone, or a list in JSON."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            raise UsageError(f"{where}: {value!r} is no list in JSON") from None
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _word(name: str) -> str:
    return name.replace("-", "_").upper()


def _is_unflagged(key: str) -> bool:
    """Return whether a setting of a run has no flag."""
    return (
        key in SETTINGS
        and key != "options"
        and attrs.fields_dict(SETTINGS[key])[key].metadata["flags"] is None
    )


def _is_typed(context: typer.Context, parameter: str) -> bool:
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def _commands(context: Any) -> list[str]:
    """Return the names of the commands below one."""
    found: list[str] = (
        context.command.list_commands(context) if hasattr(context.command, "list_commands") else []
    )
    return found


@attrs.frozen(slots=True)
class Shown:
    """A setting in force.

    Attributes:
        name: as a file has it.
        value: None where nothing says it, and ``absent`` what then happens.
        where: it came from.
        variable: that sets it.
    """

    name: str
    value: Any
    absent: str
    where: str
    variable: str


def in_force(context: typer.Context, absent: Mapping[str, str]) -> list[Shown]:
    """Return the settings of a command whose options were parsed, those of components last.

    Args:
        context: of the command.
        absent: what happens by default, by parameter, where the default does not say it.
    """
    given = GivenSettings.of(context)
    keys, found = given.keys, list[Shown]()
    for key, parameter in keys.parameters.items():
        value = context.params[parameter.name]
        said = absent.get(parameter.name, "not given")
        found.append(Shown(key, value, said, given.origin(context, parameter.name), variable_of(keys, key)))
    options = {name: (_text(one.value), one.where) for name, one in given.options(context).items()}
    for assignment in context.params.get("assignments") or ():
        name, _, value = assignment.partition("=")
        group, dot, option = name.partition(".") if _OPTIONS not in keys.groups else (_OPTIONS, ".", name)
        if dot:
            options[group.strip(), option.strip()] = (value.strip(), "command line")
    for (group, option), (value, where) in options.items():
        found.append(Shown(f"{group}.{option}", value, "", where, variable_of(keys, option, group)))
    return found

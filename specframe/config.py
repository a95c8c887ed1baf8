"""What a run is asked to do: one frozen object, from the command line and TOML."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, get_args

import attrs

from specframe.contracts.kinds import KINDS, ForwardName, GenerationConfigUse, TargetHeadName, Warmth
from specframe.contracts.numbers import whole
from specframe.contracts.options import option, plain_type
from specframe.contracts.sampling import SamplingParams, SamplingSettings
from specframe.errors import UsageError, unknown_name

AUTOREGRESSIVE = "autoregressive"

# Settings of every command, which say nothing about a run.
OF_ALL_COMMANDS = ("quiet", "verbose")

AUTO = "auto"
OFF = "off"

# What the distribution ships and runs when nothing else is asked for. They are names so that help can show
# them without waiting for plugins to be imported; the core decides nothing else by a plugin's name.
DEFAULT_DRAFTER = "eagle"
DEFAULT_STRATEGY = "nanospec"
UNPRUNED = "full"  # the strategy that any other is compared with, and whose traces any other can be scored on
COMPARED = (UNPRUNED, "static", DEFAULT_STRATEGY)


@attrs.frozen(slots=True, kw_only=True)
class RunConfig:
    """Everything that decides the output of a run, apart from the prompt. The fields say what they are.

    Raises:
        UsageError: a setting is out of range or unknown.
    """

    model: str = option(
        "smollm2-135m",
        help="The target: a demo model (`specframe models` lists them), a hub id, a directory or a .gguf "
        "file.",
        absent="an installed demo model",
        metavar="MODEL",
    )
    strategy: str = option(
        DEFAULT_STRATEGY,
        help=f"Which tokens the drafter may propose; `{AUTOREGRESSIVE}` decodes without a drafter.",
        metavar="NAME",
    )
    drafter: str = option(DEFAULT_DRAFTER, help="What proposes tokens.", metavar="NAME")
    verifier: str = option(
        AUTO,
        help="What accepts them; `auto` takes greedy at temperature 0 and sampling above.",
        metavar="NAME",
    )
    gather: str = option(
        AUTO, help="What packs the LM-head rows; `auto` takes the fastest that runs here.", metavar="NAME"
    )
    options: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)  # by kind of component
    max_new_tokens: int = option(128, help="Length limit, tokens.", metavar="N")
    dtype: str = option(
        AUTO,
        help="Weights and activations: float32, bfloat16 or float16; `auto` takes the checkpoint's (bfloat16 "
        "for a GGUF file) where the device multiplies it, float32 elsewhere.",
        metavar="DTYPE",
    )
    device: str = option(
        AUTO,
        help="Torch device: cpu, cuda, cuda:1, ...; `auto` takes a CUDA or ROCm device if there is one, else "
        "the CPU.",
        metavar="DEVICE",
    )
    sampling: SamplingParams = attrs.field(factory=SamplingParams)
    generation_config: GenerationConfigUse = option(
        "model",
        help="Whether the model's generation config counts: its logits processors, and its sampling "
        "parameters where none is given here; or `none` of it but the ids that end a text.",
        metavar="model|none",
    )
    target_forward: ForwardName = option(
        "auto",
        help="What runs the target's layers: `transformers`; `lean`, faster, which `auto` takes on a CPU "
        "where it reproduces the model; or `openvino` (an extra; in float32 on a CPU), which `auto` takes "
        "where `specframe doctor --costs` found it faster.",
        metavar="NAME",
    )
    target_head: TargetHeadName = option(
        "auto",
        help="How the target's first choices are found at temperature 0: `full`, by all logits; or "
        "`exact-screen`, the same ones from 8-bit rows and a proof, on a CPU, which `auto` takes where "
        "`specframe doctor --costs` found it faster.",
        metavar="NAME",
    )
    cuda_graph: bool | None = option(
        None,
        help="Launch a whole draft step as one CUDA graph.",
        absent="--cuda-graph on a CUDA or ROCm device",
    )
    costs: str = option(
        AUTO,
        help="What decides how much is drafted: `auto` measures this machine once, a file pins what was "
        "measured (and is written where there is none), `off` drafts trees of a fixed size.",
        metavar="auto|off|FILE",
    )
    warm: Warmth = option(
        "off",
        help="What a drafter that learns from the target may go on from: `off`, this request alone; "
        "`conversation`, earlier turns of its conversation; `shared`, all requests before. The output is the "
        "same; how fast it comes may tell that others said the same.",
        metavar="off|conversation|shared",
    )
    allow_lossy: bool = option(False, help="Let a verifier run whose output is not the target's.")
    fallback: bool = option(False, help="Go on without drafting when a component fails that drafts.")
    prefill_chunk: int = option(512, help="Prompt tokens per prefill pass.", flags=None)

    def __attrs_post_init__(self) -> None:
        for name in ("max_new_tokens", "prefill_chunk"):
            if whole(name, getattr(self, name)) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; allowed: 1 or more")
        if self.target_forward not in get_args(ForwardName):
            raise unknown_name("target forward", self.target_forward, get_args(ForwardName))
        if self.target_head not in get_args(TargetHeadName):
            raise unknown_name("target head", self.target_head, get_args(TargetHeadName))
        if self.generation_config not in get_args(GenerationConfigUse):
            raise unknown_name("generation config", self.generation_config, get_args(GenerationConfigUse))
        if self.warm not in get_args(Warmth):
            raise unknown_name("warmth", self.warm, get_args(Warmth))
        if not isinstance(self.sampling, SamplingParams):
            raise UsageError(f"sampling is {self.sampling!r}; allowed: SamplingParams")
        for name in ("model", "costs"):
            if isinstance(getattr(self, name), Path):
                object.__setattr__(self, name, str(getattr(self, name)))
        for name in ("model", "strategy", "drafter", "verifier", "gather", "dtype", "device", "costs"):
            if not isinstance(getattr(self, name), str):
                raise UsageError(f"{name} is {getattr(self, name)!r}; allowed: a text")
        for name, kinds in (("cuda_graph", (bool, type(None))), ("allow_lossy", bool), ("fallback", bool)):
            if not isinstance(getattr(self, name), kinds):
                raise UsageError(f"{name} is {getattr(self, name)!r}; allowed: True or False")
        if not isinstance(self.options, Mapping) or not all(
            isinstance(options, Mapping) for options in self.options.values()
        ):
            raise UsageError(f"options is {self.options!r}; allowed: options by name, by kind of component")
        for kind in self.options:
            if kind not in KINDS:
                raise unknown_name("option group", kind, KINDS)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Return the config of flat settings, as the command line and TOML have them; see ``SETTINGS``."""
        own = {name: value for name, value in settings.items() if name not in _SAMPLING}
        sampling = {name: value for name, value in settings.items() if name in _SAMPLING}
        return cls(**own, sampling=SamplingParams(**sampling))

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Return the config of a file as ``specframe run --config`` reads it, variables aside.

        Raises:
            UsageError: as ``load_toml``, or a setting is out of range.
        """
        return cls.of(load_toml(Path(path)))

    def flat(self) -> dict[str, Any]:
        """Return the settings by name, those of the sampling among them."""
        settings = attrs.asdict(self)
        del settings["sampling"]
        return self.sampling.values() | settings


_SAMPLING = tuple(SamplingSettings.__annotations__)

# The settings of a run by name, the component's options aside: the class that declares each, in the order of
# the help.
SETTINGS: Mapping[str, type[Any]] = {
    name: SamplingParams if name in _SAMPLING else RunConfig
    for field in attrs.fields(RunConfig)
    for name in (_SAMPLING if field.name == "sampling" else [field.name])
}


@attrs.frozen(slots=True)
class RunPart:
    """What of a TOML table is about a run.

    Attributes:
        settings: of ``SETTINGS``.
        options: by kind of component, those of ``settings`` aside.
        rest: all other keys.
    """

    settings: dict[str, Any]
    options: dict[str, dict[str, Any]]
    rest: dict[str, Any]

    @classmethod
    def of(cls, table: Mapping[str, Any], where: str) -> Self:
        """Return the parts of a table.

        A component is chosen by its setting, or by ``name`` in the table of its options.

        Args:
            table: of a file.
            where: names it in errors.

        Raises:
            UsageError: a value is of another type, or a component is chosen twice.
        """
        part = cls({}, {}, {})
        for name, value in table.items():
            if name in KINDS and isinstance(value, dict):
                part.options[name] = dict(value)
            elif name in SETTINGS and name != "options":
                part.settings[name] = _typed(name, value, where)
            elif name in KINDS:
                raise UsageError(f"{where}: [{name}] must be a table of options")
            else:
                part.rest[name] = value
        for kind, options in part.options.items():
            setting = next(one.setting for one in KINDS.values() if one.name == kind)
            if "name" in options:
                if setting in part.settings:
                    raise UsageError(f"{where}: {setting} and [{kind}] name are given; allowed: one of them")
                part.settings[setting] = _typed(setting, options.pop("name"), where)
            for name, value in options.items():
                if not isinstance(value, bool | int | float | str):
                    raise UsageError(
                        f"{where}: [{kind}] {name} = {value!r} must be a text, a number, true or false"
                    )
        return part


def _typed(name: str, value: Any, where: str) -> Any:
    """Return the value of a setting in a file; raises ``UsageError`` if it is of another type."""
    wanted = plain_type(SETTINGS[name], name)
    if type(value) is int and wanted is float:
        return float(value)
    if type(value) is not wanted:
        raise UsageError(f"{where}: {name} = {value!r} must be of type {wanted.__name__}")
    return value


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds.

    Raises:
        UsageError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors may begin a file with a mark
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None


def load_toml(path: Path) -> dict[str, Any]:
    """Return the settings of a TOML file: ``SETTINGS`` at the top, options in one table per kind.

    Tables of other names hold the settings of single commands; they are not looked at.

    Returns:
        ``SETTINGS``; the tables of components are in ``options``, where there are any.

    Raises:
        UsageError: the file cannot be read, is not TOML, or names a setting that does not exist.
    """
    part = RunPart.of(read_toml(path), str(path))
    for name, value in part.rest.items():
        misspelt = difflib.get_close_matches(name, KINDS, n=1)
        if name not in OF_ALL_COMMANDS and (misspelt or not isinstance(value, dict) or name == "options"):
            raise unknown_setting(path, name)
    return {**part.settings, "options": part.options} if part.options else part.settings


def unknown_setting(path: Path, name: str, tables: Iterable[str] = ()) -> UsageError:
    """Return the error for a key that a file must not have at its top.

    Args:
        path: of the file.
        name: the key.
        tables: that it may have besides those of components.
    """
    settings = [setting for setting in SETTINGS if setting != "options"]
    known = dict.fromkeys([*settings, *OF_ALL_COMMANDS, *KINDS, *tables])
    return unknown_name(f"setting in {path}", name, known)


def parse_options(assignments: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return option values per kind from ``kind.name=value`` strings.

    Raises:
        UsageError: an assignment of another form, or an unknown kind.
    """
    options: dict[str, dict[str, str]] = {}
    for assignment in assignments:
        key, value = split_assignment(assignment, "KIND.NAME=VALUE")
        kind, dot, name = key.partition(".")
        if not (dot and name):
            raise UsageError(
                f"option {assignment!r} is not KIND.NAME=VALUE, for example vocabulary.capacity=3072"
            )
        if kind not in KINDS:
            raise unknown_name("option group", kind, KINDS)
        options.setdefault(kind, {})[name] = value
    return options


def split_assignment(assignment: str, form: str = "NAME=VALUE") -> tuple[str, str]:
    """Return both sides of ``NAME=VALUE``, stripped; ``form`` is what the error asks for."""
    name, equals, value = assignment.partition("=")
    if not (equals and name.strip()):
        raise UsageError(f"option {assignment!r} is not {form}")
    return name.strip(), value.strip()


def merge_options(
    base: Mapping[str, Mapping[str, Any]], override: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return option values per kind where ``override`` wins over ``base`` key by key."""
    return {kind: {**base.get(kind, {}), **override.get(kind, {})} for kind in {*base, *override}}

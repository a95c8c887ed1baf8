"""What a run is asked to do: one frozen object, from the command line and TOML."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import attrs

from specframe.contracts.kinds import KINDS, ForwardName
from specframe.errors import UsageError, unknown_name

AUTOREGRESSIVE = "autoregressive"

SAMPLING_PARAMETERS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")

AUTO = "auto"

# Below this, logits divided by the temperature leave the range of float32.
_LOWEST_TEMPERATURE = 1e-3


@attrs.frozen(slots=True, kw_only=True)
class RunConfig:
    """Everything that decides the output of a run, apart from the prompt.

    Attributes:
        model: demo model name, hub id, directory, or ``.gguf`` file.
        strategy: vocabulary strategy, or ``autoregressive`` to decode without a drafter.
        drafter: drafter name.
        verifier: verifier name, or ``auto`` for ``greedy`` at temperature 0 and ``sampling`` above.
        gather: gather backend name, or ``auto``.
        options: option values per component kind.
        max_new_tokens: length limit, tokens.
        dtype: ``float32``, ``bfloat16``, ``float16``, or ``auto`` for bfloat16 where the device multiplies it
            in hardware and float32 elsewhere.
        device: torch device.
        seed: seed of the generator that verifiers and drafters draw from.
        temperature: the target's logits are divided by it; 0 decodes greedily.
        top_p: keep the most likely tokens that together have this probability; 1 keeps all.
        top_k: keep this many most likely tokens; 0 keeps all.
        min_p: keep tokens with at least this share of the most likely token's probability; 0 keeps all.
        repetition_penalty: tokens of the prompt and of the output so far lose (above 1) or gain (below 1).
        allow_lossy: whether a verifier may be chosen whose output is not the target's.
        prefill_chunk: prompt tokens per prefill pass.
        fallback: go on without drafting when a component fails that drafts.
        target_forward: what runs the target's layers: ``auto``, ``lean`` or ``transformers``.
        cuda_graph: capture the draft step in a CUDA graph; None where device and components allow it.
    """

    model: str = "smollm2-135m"
    strategy: str = "nanospec"
    drafter: str = "eagle"
    verifier: str = AUTO
    gather: str = AUTO
    options: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    max_new_tokens: int = attrs.field(default=128)
    dtype: str = AUTO
    device: str = "cpu"
    seed: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    allow_lossy: bool = False
    prefill_chunk: int = 512
    fallback: bool = False
    target_forward: ForwardName = "auto"
    cuda_graph: bool | None = None

    def __attrs_post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UsageError(f"max_new_tokens is {self.max_new_tokens}; allowed: 1 or more")
        if self.prefill_chunk < 1:
            raise UsageError(f"prefill_chunk is {self.prefill_chunk}; allowed: 1 or more")
        self._check_sampling()
        if self.target_forward not in get_args(ForwardName):
            raise unknown_name("target forward", self.target_forward, get_args(ForwardName))
        for kind in self.options:
            if kind not in KINDS:
                raise unknown_name("option group", kind, KINDS)

    def _check_sampling(self) -> None:
        """Raise a UsageError for a sampling parameter out of range, or one that greedy decoding ignores."""
        temperature, penalty = self.temperature, self.repetition_penalty
        if not (temperature == 0.0 or _LOWEST_TEMPERATURE <= temperature < math.inf):
            raise UsageError(
                f"temperature is {temperature:g}; allowed: 0 for greedy decoding, or {_LOWEST_TEMPERATURE:g} "
                "and more"
            )
        if not 0.0 < penalty < math.inf:
            raise UsageError(f"repetition_penalty is {penalty:g}; allowed: more than 0, 1 for none")
        if not 0.0 < self.top_p <= 1.0:
            raise UsageError(f"top_p is {self.top_p:g}; allowed: more than 0 and at most 1")
        if self.top_k < 0:
            raise UsageError(f"top_k is {self.top_k}; allowed: 1 or more, or 0 for all tokens")
        if not 0.0 <= self.min_p <= 1.0:
            raise UsageError(f"min_p is {self.min_p:g}; allowed: 0 to 1")
        for name, neutral in (("top_p", 1.0), ("top_k", 0), ("min_p", 0.0)):
            value = getattr(self, name)
            if temperature == 0.0 and value != neutral:
                raise UsageError(
                    f"{name} is {value:g}, but at temperature 0 the most likely token is taken whatever "
                    f"{name} is; give a temperature above 0, or leave {name} out"
                )


def load_toml(path: Path) -> dict[str, Any]:
    """Return the settings of a TOML file: ``RunConfig`` fields at the top, options in one table per kind.

    Raises:
        UsageError: the file cannot be read, is not TOML, or names a setting that does not exist.
    """
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    allowed = {field.name: field for field in attrs.fields(RunConfig) if field.name != "options"}
    for name, value in list(settings.items()):
        if name in KINDS:
            if not isinstance(value, dict):
                raise UsageError(f"{path}: [{name}] must be a table of options")
        elif name not in allowed:
            raise unknown_name(f"setting in {path}", name, [*allowed, *KINDS])
        elif type(value) is int and type(allowed[name].default) is float:
            settings[name] = float(value)
        else:
            default = allowed[name].default
            wanted = bool if default is None else type(default)  # a switch that is neither on nor off
            if type(value) is not wanted:
                raise UsageError(f"{path}: {name} = {value!r} must be of type {wanted.__name__}")
    return settings


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

"""What is compared: a strategy or a peer, with options, as it was typed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from specframe.config import AUTOREGRESSIVE, COMPARED, RunConfig, merge_options, split_assignment
from specframe.contracts.kinds import KINDS
from specframe.contracts.options import plain_type
from specframe.contracts.sampling import NEUTRAL, SamplingParams
from specframe.errors import UsageError, unknown_name

HF_GREEDY = "hf-greedy"
HF_PROMPT_LOOKUP = "hf-prompt-lookup"
PEERS = (HF_GREEDY, HF_PROMPT_LOOKUP)

DEFAULT = (AUTOREGRESSIVE, *COMPARED)

# What a configuration may choose for itself besides its strategy, by the settings of a run.
_CHOICES = [*(kind.setting for kind in KINDS.values() if kind.name != "vocabulary"), "warm"]
_SAMPLING = "sampling"


@attrs.frozen(slots=True)
class Configuration:
    """One of the things a benchmark compares.

    Attributes:
        label: as it was typed, for example ``nanospec:capacity=1024``.
        name: a vocabulary strategy, ``autoregressive``, or one of ``PEERS``.
        choices: names of the drafter, verifier or gather backend, and what a drafter may go on from, where it
            has its own.
        options: option values per component kind; those of a peer are under ``vocabulary``.
        sampling: sampling parameters that it has for itself.
    """

    label: str
    name: str
    choices: Mapping[str, str]
    options: Mapping[str, Mapping[str, str]]
    sampling: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def is_peer(self) -> bool:
        """Whether another decoder runs, and not this engine."""
        return self.name in PEERS

    def run_config(self, base: RunConfig) -> RunConfig:
        """Return what this engine is asked to run, given what all configurations have in common."""
        choices: dict[str, Any] = {**self.choices}
        return attrs.evolve(
            base,
            strategy=self.name,
            options=merge_options(base.options, self.options),
            sampling=base.sampling.changed(**self.sampling),
            **choices,
        )


def parse_configurations(texts: Iterable[str]) -> list[Configuration]:
    """Return the configurations of lists such as ``full,nanospec:capacity=1024,eviction=lru``.

    After a name and a colon, ``KEY=VALUE`` belongs to that name until the next one begins. A key without a
    dot is an option of the strategy; ``KIND.KEY`` is an option of another component, and ``drafter``,
    ``verifier`` and ``gather`` alone choose it, as ``warm`` does what a drafter may go on from.
    ``sampling.temperature`` and its like are parameters of the configuration's own sampling.
    ``KEY=VALUE|VALUE`` stands for one configuration per value.

    Raises:
        UsageError: a malformed or doubled configuration.
    """
    pieces: list[list[str]] = []
    for piece in (piece.strip() for text in texts for piece in text.split(",")):
        name, equals, _ = piece.partition("=")
        if equals and ":" not in name:
            if not pieces or ":" not in pieces[-1][0]:
                raise UsageError(f"{piece!r} belongs to no strategy; allowed: NAME:KEY=VALUE,KEY=VALUE")
            pieces[-1].append(piece)
        elif piece:
            pieces.append([piece])
    configurations = [_configuration(label) for of_one in pieces for label in _alternatives(of_one)]
    labels = [configuration.label for configuration in configurations]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"configuration {label!r} was given twice; allowed: each once")
    return configurations


def plain_name(label: str) -> str | None:
    """Return the name that a label consists of, sampling parameters aside; None if it has options."""
    name, _, assignments = label.partition(":")
    keys = filter(None, assignments.split(","))
    return name if all(key.startswith(f"{_SAMPLING}.") for key in keys) else None


def _alternatives(pieces: Sequence[str]) -> Iterator[str]:
    """Yield the labels that the pieces of a configuration stand for, one per choice of alternatives."""
    choices = []
    for piece in pieces:
        key, equals, values = piece.partition("=")
        choices.append([key + equals + value for value in values.split("|")])
    return map(",".join, itertools.product(*choices))


def _configuration(label: str) -> Configuration:
    name, _, assignments = label.partition(":")
    choices: dict[str, str] = {}
    options: dict[str, dict[str, str]] = {}
    sampling: dict[str, float] = {}
    for assignment in filter(None, assignments.split(",")):
        key, value = split_assignment(assignment, "KEY=VALUE")
        kind, dot, option = key.partition(".")
        if not dot and key in _CHOICES:
            choices[key] = value
            continue
        if not dot:
            kind, option = "vocabulary", key
        if kind == _SAMPLING:
            sampling[option] = _sampling_value(label, option, value)
            continue
        if kind not in KINDS or not option:
            raise UsageError(
                f"option {key!r} of {label!r}: allowed: NAME, or KIND.NAME with "
                f"{', '.join([*KINDS, _SAMPLING])}"
            )
        options.setdefault(kind, {})[option] = value
    _check_bare(name, label, [*choices, *options, *([_SAMPLING] if sampling else [])])
    return Configuration(label, name, choices, options, sampling)


def _sampling_value(label: str, name: str, value: str) -> float:
    """Return a sampling parameter of a configuration; the config checks its range."""
    if name not in NEUTRAL:
        raise unknown_name(f"sampling parameter in {label!r}", name, NEUTRAL)
    kind = plain_type(SamplingParams, name)
    try:
        return float(value) if kind is float else int(value)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise UsageError(f"sampling.{name} = {value!r} of {label!r} must be {what}") from None


def _check_bare(name: str, label: str, kinds: Iterable[str]) -> None:
    """Refuse options of components that the baseline and the peers do not have."""
    allowed = {AUTOREGRESSIVE: ("verifier", _SAMPLING), **dict.fromkeys(PEERS, ("vocabulary",))}
    if name in allowed:
        for kind in kinds:
            if kind not in allowed[name]:
                raise UsageError(f"configuration {label!r}: {name} has no {kind} that could be set")

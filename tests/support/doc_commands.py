"""The command lines of a block, and whether the command line would take them; nothing is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import pluggy

from specframe.bench.configurations import parse_configurations
from specframe.cli.app import command_line
from specframe.cli.training import train_request, trainable
from specframe.config import AUTOREGRESSIVE, DEFAULT_DRAFTER, SETTINGS, RunConfig, parse_options
from specframe.contracts.kinds import KINDS
from specframe.contracts.options import build_options
from specframe.registry.choice import check_config
from specframe.registry.manager import build_registry, create_plugin_manager

_ASSIGNMENT = re.compile(r"[A-Z_]+=")
_CHAINS = re.compile(r" (?:&&|\|) ")


def command_lines(text: str, language: str) -> list[str]:
    """Return the commands of a block, one a line however it is broken, without what they print."""
    lines = text.replace("\\\n", "").splitlines()
    if language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [line for line in lines if line and not line.startswith("#")]


def specframe_arguments(line: str) -> Iterator[list[str]]:
    """Yield what follows ``specframe`` in a line of the shell."""
    for piece in _CHAINS.split(line):
        words = shlex.split(piece, comments=True)
        while words and _ASSIGNMENT.match(words[0]):
            words.pop(0)
        if words and words[0] == "specframe":
            yield words[1:]


def check_arguments(arguments: list[str]) -> None:
    """Let the command line take apart what was typed, and check the components and options in it.

    Raises:
        SpecframeError: a component, an option or a value that is not allowed.
        Exception: of typer, for a command or a flag that does not exist.
    """
    # Where a page leaves a list to its reader, the first strategy will do.
    words = ["full" if word == "..." else word.replace(",...", "") for word in arguments]
    names, given = _parsed(words)
    if "out" in given and names == ["train"]:
        of = trainable(given["drafter"])
        train_request(of, given["model"] or "smollm2-135m", given["out"], given["assignments"] or ())
    elif names[0] == "doctor":
        build_registry(_manager()).get("drafter", given["drafter"] or DEFAULT_DRAFTER)
    elif names[0] in ("run", "chat", "bench", "replay"):
        _check_run(given)


@cache
def _command() -> Any:
    return command_line()


@cache
def _manager() -> pluggy.PluginManager:
    return create_plugin_manager()


def check_file(file: Path) -> None:
    """Check the components and options of a settings file.

    Raises:
        SpecframeError: one that is not allowed.
    """
    _check_components(attrs.evolve(RunConfig.from_toml(file), device="cpu"))


def command_names() -> set[str]:
    """Return the names of the commands, which tables of a settings file have too."""
    return set(_command().commands)


def _parsed(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the names of the command, and its parameters."""
    command = _command()
    context, names, name = None, [], "specframe"
    while True:
        context = command.make_context(name, words, parent=context)
        words = [*getattr(context, "_protected_args", ()), *context.args]
        if not hasattr(command, "commands") or not words:
            return names, context.params
        name, command, words = command.resolve_command(context, words)
        names.append(name)


def _check_run(given: dict[str, Any]) -> None:
    """Check the components and options of what is run, measured or replayed."""
    settings = {name: given[name] for name in SETTINGS if given.get(name) is not None and name != "options"}
    # What only another machine has is no fault of the page.
    options = parse_options(given.get("assignments") or ())
    base = RunConfig.of({"model": "smollm2-135m", **settings, "device": "cpu", "options": options})
    labels = [*(given.get("strategies") or ()), *filter(None, [given.get("tune")])]
    if not labels:
        _check_components(base)
    for configuration in parse_configurations(labels):
        if configuration.is_peer:
            continue
        _check_components(configuration.run_config(base))


def _check_components(config: RunConfig) -> None:
    _, chosen = check_config(config, _manager())
    assert config.strategy == AUTOREGRESSIVE or set(chosen) == set(KINDS)
    for kind, (component, _) in chosen.items():
        build_options(component.options, config.options.get(kind, {}), component.name)

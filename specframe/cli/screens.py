"""From ``specframe vocab`` to screens: made before they are needed, and files of them looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from specframe.config import AUTOREGRESSIVE, RunConfig
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import lm_head_of
from specframe.contracts.screen import Screen, StateSource
from specframe.engine.assembly import build_engine
from specframe.engine.draft_states import SomeStates, head_digest, held_out
from specframe.engine.drafting.active import ActiveDrafting
from specframe.engine.screen_files import kept_screens, read_about
from specframe.errors import UsageError
from specframe.model.language_model import load_output_head
from specframe.ops.progress_line import ProgressLine
from specframe.registry.choice import check_config
from specframe.registry.components import BuildContext, Component
from specframe.registry.manager import create_plugin_manager, shipped_data
from specframe.vocabulary.recall import FEW, Recall, best_rows

_STATES = 4096

Rows = Sequence[tuple[str, str]]


def build_screen(config: RunConfig) -> Rows:
    """Make what a screen of a strategy needs, where it is not there yet; return rows of what and how much.

    Args:
        config: names model, drafter and strategy; without costs.

    Raises:
        UsageError: the strategy has no screen, or the screen does not fit the LM head.
        SpecframeError: the drafter drafts nothing to fit a screen to.
    """
    manager = create_plugin_manager()
    config, chosen = check_config(config, manager)
    if config.strategy == AUTOREGRESSIVE:
        raise _without_screen(config)
    engine = build_engine(config, manager=manager)
    drafting, states = engine.drafting, engine.states
    assert isinstance(drafting, ActiveDrafting)  # there are no costs to plan by
    if states is None:
        raise UsageError(f"drafter {config.drafter!r} has no LM head to screen; allowed: one that has")
    screen = drafting.strategy.screen
    if screen is None or drafting.strategy.capacity is None:
        raise _without_screen(config)
    head, files = lm_head_of(drafting.drafter), kept_screens(states)
    target = engine.target
    context = BuildContext(target=target, required_ids=target.required_ids, data=shipped_data(manager))
    kept = [f"{one.path} ({_megabytes(one.size)})" for one in files]
    return [
        ("screen", f"{config.strategy}, {screen.width:,} candidates of {head.vocab_size:,} rows"),
        ("LM head", f"{head_digest(head)}, of drafter {config.drafter} for {target.name}"),
        ("kept in", ", ".join(kept) or "no file: it is made at every start"),
        ("memory", f"{_megabytes(sum(one.nbytes for one in screen.held()))} beside the LM head"),
        ("finds", _recall(config, chosen["vocabulary"], context, head, states)),
    ]


def inspect_screen(path: Path, model: str | None) -> Rows | None:
    """Return rows of what is known about a file of a screen; None where a file is none.

    Args:
        path: of the file.
        model: whose LM head it should be for; None for any.

    Raises:
        UsageError: it is cut off, or of another LM head.
    """
    about = read_about(path)
    if about is None:
        return None
    rows = [
        ("screen", about.kind),
        ("LM head", about.head),
        ("fitted to", f"states {about.states}"),
        ("rank", f"at most {about.columns}"),
        ("rows", f"{about.rows:,}"),
        ("bytes", f"{about.size:,}"),
    ]
    if model is None:
        return rows
    digest = head_digest(load_output_head(model, torch.float32))
    if digest != about.head:
        raise UsageError(
            f"{path} is a screen of LM head {about.head}, and that of {model} is {digest}; allowed: the "
            "model that it was made for, or no --model"
        )
    return [*rows, ("model", model)]


def _recall(
    config: RunConfig,
    chosen: tuple[Component, Any],
    context: BuildContext,
    head: OutputHead,
    states: StateSource,
) -> str:
    """Return what a screen like this one finds for states that it is not fitted to."""
    component, options = chosen
    fit, apart = held_out(states.sample(_STATES))
    if not len(apart):
        return f"not known: {len(fit)} states are too few to hold some out"
    with torch.inference_mode():
        screen: Screen = component.factory(options, context).screen
        screen.bind(head, SomeStates(fit))
        states_there = apart.to(head.device, head.dtype)
        with ProgressLine(f"asking about {len(apart):,} states"):
            found = Recall.of(screen, states_there, best_rows(head, states_there))
    return (
        f"{found.first:.3f} of first choices, {found.few:.3f} of the first {FEW}, for {len(apart):,} states "
        f"that it was not fitted to (of {len(fit) + len(apart):,})"
    )


def _without_screen(config: RunConfig) -> UsageError:
    return UsageError(
        f"strategy {config.strategy!r} has no screen; allowed: strategies that have one, such as lowrank"
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"

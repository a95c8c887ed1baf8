"""The curves of a training: numbers for programs, and a picture."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path

from specframe.contracts.records import write_whole
from specframe_plugins.training.trainer import Trainer

CURVES_JSON, CURVES_PNG = "curves.json", "curves.png"


def write_curves(trainer: Trainer, folder: Path) -> bool:
    """Writes `curves.json`, and `curves.png` where matplotlib is installed; returns whether it is."""
    points = {
        "loss": [{"step": step, "loss": loss} for step, loss in trainer.losses],
        "evaluations": [{"step": found.step, "tau": found.tau} for found in trainer.evaluations],
        "total_steps": trainer.total_steps,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / CURVES_JSON, (json.dumps(points, indent=1) + "\n").encode())
    if importlib.util.find_spec("matplotlib") is None:
        return False
    _draw(trainer, folder / CURVES_PNG)
    return True


def _draw(trainer: Trainer, path: Path) -> None:
    # A figure of its own, without pyplot: no global state, no display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*trainer.losses, strict=True), color="tab:blue") if trainer.losses else None
    axes.set_xlabel("step")
    axes.set_ylabel("loss", color="tab:blue")
    if trainer.evaluations:
        right = axes.twinx()
        right.plot(
            [found.step for found in trainer.evaluations],
            [found.tau for found in trainer.evaluations],
            color="tab:orange",
            marker="o",
        )
        right.set_ylabel("tau of a chain of 3, held-out prompts", color="tab:orange")
    unrolled = trainer.total_steps * (1 - trainer.options.unroll_share)
    if trainer.options.unroll_steps > 1:
        axes.axvline(unrolled, color="gray", linestyle=":", label="unrolled from here")
        axes.legend(loc="upper center")
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120, format="png")
    write_whole(path, picture.getvalue())

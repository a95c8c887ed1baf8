"""What the break-even would be for other models: estimates from bytes moved, never measurements."""

from __future__ import annotations

import attrs

from specframe.bench.report.break_even import BreakEven, StepCosts
from specframe.bench.report.run import Run
from specframe.bench.report.totals import totals
from specframe.bench.report.traffic import (
    DEVICES,
    MODELS,
    Device,
    Model,
    Setting,
    draft_time,
    target_pass_time,
)
from specframe.config import UNPRUNED

SHOWN_MODELS = ("Llama-3.1-8B", "Qwen2.5-7B", "Gemma-3-1B", "Gemma-3-4B")
SHOWN_DEVICES = ("H100 SXM",)
THIS_MACHINE = "this machine"


@attrs.frozen(slots=True)
class ShapeEstimate:
    """Pruning against full for a model's shape on a device.

    Attributes:
        model: the shape.
        device: bandwidth and arithmetic peak.
        setting: levels, tree size, active tokens.
        costs: seconds per target pass.
    """

    model: Model
    device: Device
    setting: Setting
    costs: StepCosts


def estimate(model: Model, device: Device, setting: Setting) -> ShapeEstimate:
    """Return the estimate for one shape on one device."""
    full = draft_time(model, device, setting, model.vocab_size, 0)
    packed = draft_time(model, device, setting, setting.active, setting.new)
    per_row = (full.head - packed.head) / (model.vocab_size - setting.active)
    costs = StepCosts(
        untouched=full.backbone + target_pass_time(model, device, setting),
        head_fixed=packed.head - per_row * setting.active,
        head_per_row=per_row,
        packed_head=packed.head,
        vocabulary=packed.vocabulary,
    )
    return ShapeEstimate(model, device, setting, costs)


def estimates(run: Run, measured: list[BreakEven], hidden_size: int) -> list[ShapeEstimate]:
    """Return the estimates for the shown models: on the shown devices, and at this machine's bandwidth.

    Args:
        run: the rows.
        measured: its break-even.
        hidden_size: H of the run's target.
    """
    settings = [(device, Setting()) for device in DEVICES if device.name in SHOWN_DEVICES]
    here = this_machine(run, measured, hidden_size)
    if here is not None:
        settings.insert(0, here)
    models = [model for model in MODELS if model.name in SHOWN_MODELS]
    return [estimate(model, device, setting) for device, setting in settings for model in models]


def this_machine(run: Run, measured: list[BreakEven], hidden_size: int) -> tuple[Device, Setting] | None:
    """Return this machine by the rate at which it read the full head, and the trees that it drafted.

    Arithmetic is not bounded: what a run measures is one rate, and on small trees memory sets it.
    """
    rows = run.of(UNPRUNED)
    levels = max((len(row.report.accept_by_depth or ()) for row in rows), default=0)
    nodes = totals(rows).tree_nodes
    if not measured or not levels or not nodes:
        return None
    row_bytes = hidden_size * (4 if rows[0].report.dtype == "float32" else 2)
    device = Device(THIS_MACHINE, row_bytes * levels / measured[0].costs.head_per_row, peak=float("inf"))
    return device, Setting(levels=levels, tree_nodes=round(nodes))

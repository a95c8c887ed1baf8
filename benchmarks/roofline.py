"""Estimate a draft step from bytes moved and operations done: a lower bound on paper, not a measurement.

Every part takes as long as the slower of its memory traffic and its arithmetic:

    seconds = max(bytes / bandwidth, operations / peak)

The formulas are in ``specframe/bench/report/traffic.py``.

    python benchmarks/roofline.py
    python benchmarks/roofline.py --bandwidth 1.008 --peak 165 --model Gemma-3-4B
"""

from __future__ import annotations

from typing import Annotated

import typer

from specframe.bench.report.traffic import (
    DEVICES,
    MODELS,
    Device,
    Model,
    Setting,
    admit_bytes,
    draft_time,
    gather_rows_bytes,
    indexed_head_topk_bytes,
    sparse_head_topk_bytes,
)


def table(models: tuple[Model, ...], devices: tuple[Device, ...], setting: Setting) -> list[str]:
    """Return the lines of a Markdown table, one per model and device."""
    lines = [
        f"| model | device | full, µs | of it head | static 32k, µs | packed {setting.active}, µs | "
        "packed against full |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for model in models:
        for device in devices:
            full = draft_time(model, device, setting, model.vocab_size, 0)
            static = draft_time(model, device, setting, min(32768, model.vocab_size), 0)
            packed = draft_time(model, device, setting, setting.active, setting.new)
            lines.append(
                f"| {model.name} | {device.name} | {full.total * 1e6:.0f} | {full.head / full.total:.0%} | "
                f"{static.total * 1e6:.0f} | {packed.total * 1e6:.0f} | "
                f"{packed.total / full.total - 1:+.0%} |"
            )
    return lines


def operations(model: Model, devices: tuple[Device, ...], setting: Setting) -> list[str]:
    """Return the lines of a Markdown table, one per kernel at the widest level of a draft step."""
    n, k, width, element = setting.branching, setting.branching, model.hidden_size, setting.element
    rows, new = setting.active, setting.new
    moved = {
        f"`admit`, {setting.candidates} candidates, {new} new": admit_bytes(setting.candidates, new),
        f"`gather_rows`, {new} rows": gather_rows_bytes(new, width, element),
        f"`sparse_head_topk`, N={n}, K={rows}": sparse_head_topk_bytes(n, rows, width, k, element),
        f"`indexed_head_topk`, N={n}, K={rows}": indexed_head_topk_bytes(n, rows, width, k, element),
        "the same, every row read N times": indexed_head_topk_bytes(1, rows, width, k, element) * n,
        "full head": sparse_head_topk_bytes(n, model.vocab_size, width, k, element),
    }
    lines = [
        f"| {model.name} | bytes | " + " | ".join(f"{d.name}, µs" for d in devices) + " |",
        "|---|---:|" + "---:|" * len(devices),
    ]
    for name, size in moved.items():
        times = " | ".join(f"{device.seconds(size) * 1e6:.3g}" for device in devices)
        lines.append(f"| {name} | {size:,} | {times} |")
    return lines


def main(
    model: Annotated[str, typer.Option(help="Part of a model's name; empty for all.")] = "",
    bandwidth: Annotated[float | None, typer.Option(help="Your device's memory, TB/s.")] = None,
    peak: Annotated[float | None, typer.Option(help="Its dense bfloat16 peak, TFLOP/s.")] = None,
    active: Annotated[int, typer.Option(help="Active tokens of the packed head.")] = 3000,
    new: Annotated[int, typer.Option(help="Rows fetched per draft step.")] = 60,
) -> None:
    """Print the estimate for known devices, or for yours."""
    devices: tuple[Device, ...] = DEVICES
    if bandwidth is not None and peak is not None:
        devices = (Device("yours", bandwidth * 1e12, peak * 1e12),)
    elif bandwidth is not None or peak is not None:
        raise typer.BadParameter("give --bandwidth and --peak together")
    models = tuple(m for m in MODELS if model.lower() in m.name.lower())
    if not models:
        raise typer.BadParameter(f"no model like {model!r}; known: {', '.join(m.name for m in MODELS)}")
    setting = Setting(active=active, new=new)
    print("\n".join([*table(models, devices, setting), "", *operations(models[0], devices, setting)]))


if __name__ == "__main__":
    typer.run(main)

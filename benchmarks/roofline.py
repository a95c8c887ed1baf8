"""Estimate a draft step from bytes moved and operations done: a lower bound on paper, not a measurement.

Every part takes as long as the slower of its memory traffic and its arithmetic:

    seconds = max(bytes / bandwidth, operations / peak)

A draft step is ``levels`` passes through the drafter: level 1 has one node, every later one ``branching``
nodes. Each level reads the drafter's weights, its keys and values, and the head rows that its strategy
leaves. Launches, softmax, sampling and the host are left out, so a device is slower than this.

    python benchmarks/roofline.py
    python benchmarks/roofline.py --bandwidth 1.008 --peak 165 --model Gemma-3-4B
"""

from __future__ import annotations

from typing import Annotated

import attrs
import typer


@attrs.frozen
class Model:
    """The sizes of a target, which an EAGLE-2 drafter of one layer shares.

    Attributes:
        name: of the model.
        vocab_size: V.
        hidden_size: H.
        intermediate_size: width of the MLP.
        heads: attention heads.
        kv_heads: heads of keys and values.
        head_size: width of an attention head.
    """

    name: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_size: int

    @property
    def drafter_weights(self) -> int:
        """Weights read per level besides the head: fc, attention and MLP."""
        h = self.hidden_size
        attention = 2 * h * self.head_size * (self.heads + self.kv_heads)
        return 2 * h * h + attention + 3 * h * self.intermediate_size


@attrs.frozen
class Device:
    """What a data sheet says.

    Attributes:
        name: of the device.
        bandwidth: bytes per second.
        peak: bfloat16 operations per second, dense.
    """

    name: str
    bandwidth: float
    peak: float

    def seconds(self, moved: float, operations: float = 0.0) -> float:
        """Return the roofline of ``moved`` bytes and ``operations``."""
        return max(moved / self.bandwidth, operations / self.peak)


MODELS = (
    Model("Llama-3.1-8B", 128256, 4096, 14336, 32, 8, 128),
    Model("Qwen2.5-7B", 152064, 3584, 18944, 28, 4, 128),
    Model("Gemma-3-270M", 262144, 640, 2048, 4, 1, 256),
    Model("Gemma-3-1B", 262144, 1152, 6912, 4, 1, 256),
    Model("Gemma-3-4B", 262208, 2560, 10240, 8, 4, 256),
    Model("Gemma-3-12B", 262208, 3840, 15360, 16, 8, 256),
    Model("Gemma-3-27B", 262208, 5376, 21504, 32, 16, 128),
)
DEVICES = (
    Device("A100 80GB", 2.04e12, 312e12),
    Device("H100 SXM", 3.35e12, 989e12),
    Device("H200", 4.8e12, 989e12),
)


@attrs.frozen
class Setting:
    """What a draft step does.

    Attributes:
        levels: levels of the draft tree.
        branching: nodes that each level but the first expands; also k.
        context: positions in the drafter's KV cache.
        active: K, active tokens of the packed head.
        new: rows fetched per draft step.
        candidates: ids that a draft step hands to ``admit``.
        element: bytes per weight.
    """

    levels: int = 6
    branching: int = 10
    context: int = 1024
    active: int = 3000
    new: int = 60
    candidates: int = 250
    element: int = 2

    @property
    def nodes(self) -> list[int]:
        """N of each level."""
        return [1] + [self.branching] * (self.levels - 1)


def admit_bytes(candidates: int, new: int) -> int:
    """Least traffic of ``admit``: ids and their slots are read; owners replaced, old and new entry."""
    return candidates * (8 + 4) + new * (4 + 4 + 4 + 4)


def gather_rows_bytes(new: int, hidden_size: int, element: int) -> int:
    """Least traffic of ``gather_rows``: every new row is read and written, and so are slot and id read."""
    return new * (2 * hidden_size * element + 4 + 4)


def sparse_head_topk_bytes(n: int, rows: int, hidden_size: int, k: int, element: int) -> int:
    """Least traffic of ``sparse_head_topk``: rows and hidden states read once, k pairs written."""
    return (rows + n) * hidden_size * element + n * k * (4 + 8)


def indexed_head_topk_bytes(n: int, rows: int, hidden_size: int, k: int, element: int) -> int:
    """Least traffic of ``indexed_head_topk``: the same, and the id of every row."""
    return sparse_head_topk_bytes(n, rows, hidden_size, k, element) + rows * 4


@attrs.frozen
class DraftTime:
    """Seconds of one draft step.

    Attributes:
        backbone: the drafter without its head, all levels.
        head: the head, all levels.
        vocabulary: admission and fetch.
    """

    backbone: float
    head: float
    vocabulary: float

    @property
    def total(self) -> float:
        """All of it, nothing overlapped."""
        return self.backbone + self.head + self.vocabulary


def draft_time(model: Model, device: Device, setting: Setting, rows: int, new: int) -> DraftTime:
    """Return the estimate for a head of ``rows`` rows, ``new`` of them fetched in this draft step."""
    element, width = setting.element, model.hidden_size
    cache = 2 * model.kv_heads * model.head_size * setting.context
    moved = element * (model.drafter_weights + cache)
    k = setting.branching
    return DraftTime(
        backbone=sum(device.seconds(moved, 2 * n * model.drafter_weights) for n in setting.nodes),
        head=sum(
            device.seconds(sparse_head_topk_bytes(n, rows, width, k, element), 2 * n * rows * width)
            for n in setting.nodes
        ),
        vocabulary=device.seconds(
            admit_bytes(setting.candidates, new) + gather_rows_bytes(new, width, element)
        )
        if new
        else 0.0,
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

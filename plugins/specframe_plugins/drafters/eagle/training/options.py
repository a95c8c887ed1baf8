"""Options of `specframe train` for the EAGLE drafter."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from attrs import frozen

from specframe.errors import UsageError
from specframe.options import option


@frozen(kw_only=True)
class TrainOptions:
    """Everything about a training but the target and the place of the checkpoint."""

    work_dir: Path | None = option(
        None, help="where the generated data and the state are kept; none: OUT with .work appended"
    )
    tokens: int = option(1_000_000, help="tokens to generate", unit="tokens", minimum=1)
    workers: int | None = option(
        None, help="processes that generate; none: one per CPU core, one on a GPU", minimum=1
    )
    rows: int = option(96, help="conversations that one process decodes at once", minimum=1)
    max_request: int = option(
        120, help="longest request the target writes, passages aside", unit="tokens", minimum=2
    )
    max_answer: int = option(200, help="longest answer", unit="tokens", minimum=1)
    max_length: int = option(
        1024,
        help="longest conversation; the target's positions limit it as well",
        unit="tokens",
        minimum=8,
    )
    hidden_states: Literal["kept", "recomputed"] = option(
        "kept",
        help="kept: on disk, 2 x H bytes a token in half precision; recomputed: in every epoch",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = option("bfloat16", help="dtype of the target")
    device: str = option("cpu", help="torch device")
    seed: int = option(0, help="seed of the conversations and of the training", minimum=0)
    epochs: int = option(5, help="passes over the data", minimum=1)
    batch_tokens: int = option(1536, help="size of a batch, padding included", unit="tokens", minimum=1)
    learning_rate: float = option(1e-3, help="peak of warm-up and cosine", minimum=0)
    weight_decay: float = option(0.01, help="of AdamW, on matrices", minimum=0)
    unroll_steps: int = option(3, help="draft depths that the last part trains", unit="steps", minimum=1)
    unroll_share: float = option(0.3, help="size of the last part, 0 to 1", minimum=0, maximum=1)
    frequent_tokens: int = option(2048, help="most frequent ids that are always in the softmax", minimum=0)
    random_tokens: int = option(512, help="ids drawn from the rest for each batch", minimum=0)
    noise: float = option(
        0.2, help="uniform noise on input features, relative to their root mean square", minimum=0
    )
    heldout_tasks: Path | None = option(
        None, help="task file (JSON lines) to report on as well; none: held-out conversations only"
    )
    heldout_prompts: int = option(40, help="prompts that the report decodes", minimum=1)

    def __attrs_post_init__(self) -> None:
        if self.frequent_tokens == 0 and self.random_tokens == 0:
            raise UsageError("frequent_tokens and random_tokens are both 0; allowed: at least one above 0")
        if self.heldout_tasks is not None and not self.heldout_tasks.is_file():
            raise UsageError(f"heldout_tasks {self.heldout_tasks} is not a file; allowed: JSON lines")

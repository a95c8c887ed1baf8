"""Options of `specframe train`, whatever the drafter."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from attrs import frozen

from specframe.contracts.options import option
from specframe.errors import UsageError


@frozen(kw_only=True)
class TrainOptions:
    """Everything about a training but the target and the place of the checkpoint."""

    work_dir: Path | None = option(
        None, help="run folder: state, settings, curves; none: OUT with .work appended"
    )
    data: Path | None = option(None, help="folder of the token shards; none: shards in work_dir")
    tokens: int = option(
        1_000_000, help="tokens to have; missing ones are generated", unit="tokens", minimum=1
    )
    requests: Path | None = option(
        None, help="task file with requests of your own; half of the conversations answer one"
    )
    workers: int | None = option(
        None, help="processes that generate; none: one per CPU core, one on a GPU", minimum=1
    )
    rows: int = option(96, help="conversations that one process decodes at once", minimum=1)
    max_request: int = option(120, help="longest request, passages aside", unit="tokens", minimum=2)
    max_answer: int = option(200, help="longest answer", unit="tokens", minimum=1)
    max_length: int = option(
        1024, help="longest conversation; the target's positions limit it as well", unit="tokens", minimum=8
    )
    hidden_states: Literal["kept", "recomputed"] = option(
        "kept",
        help="kept: on disk, 2 x H bytes a token in half precision; recomputed: in every epoch",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto", help="dtype of the target; auto: as for `specframe run`"
    )
    device: str = option("auto", help="torch device; auto: a GPU if there is one, else the CPU")
    seed: int = option(0, help="seed of the conversations and of the training", minimum=0)
    start: Path | None = option(None, help="checkpoint to start from; none: a fresh head")
    induction_groups: int | None = option(
        None,
        help="key and value heads that find what followed the last time; those that `start` lacks are added; "
        "none: enough for 256 dimensions",
        minimum=0,
    )
    epochs: int = option(5, help="passes over the data", minimum=1)
    batch_tokens: int = option(1536, help="size of a batch, padding included", unit="tokens", minimum=1)
    learning_rate: float = option(1e-3, help="peak of warm-up and cosine", minimum=0)
    weight_decay: float = option(0.01, help="of AdamW, on matrices", minimum=0)
    dropout: float = option(0.0, help="share of the layer's inputs left out", minimum=0, maximum=0.9)
    ema: float = option(
        0.0, help="decay of a moving average of the weights; 0: none", minimum=0, maximum=0.99999
    )
    unroll_steps: int = option(3, help="draft depths that the last part trains", unit="steps", minimum=1)
    unroll_share: float = option(0.3, help="size of the last part, 0 to 1", minimum=0, maximum=1)
    depth_decay: float = option(0.8, help="weight of each further depth", minimum=0, maximum=1)
    soft_share: float = option(
        0.5,
        help="share of the target's distribution in the labels; the rest is its argmax",
        minimum=0,
        maximum=1,
    )
    feature_weight: float = option(1.0, help="weight of the distance between features", minimum=0)
    user_weight: float = option(
        0.5, help="weight of what the target wrote in user turns; answers: 1", minimum=0
    )
    frequent_tokens: int = option(2048, help="most frequent ids that are always in the softmax", minimum=0)
    random_tokens: int = option(512, help="ids drawn from the rest for each batch", minimum=0)
    noise: float = option(
        0.2, help="uniform noise on input features, relative to their root mean square", minimum=0
    )
    evaluations: int = option(10, help="measurements on held-out prompts on the way", minimum=0)
    patience: int = option(
        4, help="evaluations without a better one that end the training; 0: none", minimum=0
    )
    heldout_tasks: Path | None = option(
        None, help="task file (JSON lines) to measure on; none: the built-in prompts"
    )
    heldout_prompts: int = option(21, help="prompts to measure on", unit="prompts", minimum=1)

    def __attrs_post_init__(self) -> None:
        if self.frequent_tokens == 0 and self.random_tokens == 0:
            raise UsageError("frequent_tokens and random_tokens are both 0; allowed: at least one above 0")
        for name in ("heldout_tasks", "requests"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise UsageError(f"{name} {path} is not a file; allowed: JSON lines")

"""The target of the parts that run whole generations: SmolLM2, or random weights in its shape."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import torch
from torch import Tensor

from on_device.parts import Setup
from on_device.random_models import FULL_SIZE, MINIATURE, random_llama
from specframe.config import RunConfig
from specframe.engine.assembly import build_engine
from specframe.engine.engine import Engine
from specframe.errors import SpecframeError, UsageError
from specframe.model.loading import load_pretrained
from specframe.model.target import Target
from specframe.registry.manager import create_plugin_manager, shipped_data
from specframe_plugins.drafters import probe
from specframe_plugins.drafters.eagle.checkpoint import load_chosen, save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead

RANDOM = "random"
_SMOLLM2 = "smollm2-135m"
_TEXTS = (
    "The lighthouse keeper counted the ships, and then he counted them again because",
    "def mean(values):\n    total = 0\n    for value in values:\n        total += value\n    return",
    "One, two, three, four. One, two, three, four. One, two,",
)


@attrs.frozen(eq=False)
class Checked:
    """A target in float32, with prompts for it and an EAGLE head that fits.

    Attributes:
        target: the target.
        said: what it is, for the table.
        missing: why it is not SmolLM2 if that was wanted.
        prompts: token ids [T] each.
        head: options of the drafter ``eagle``.
    """

    target: Target
    said: str
    missing: str | None
    prompts: tuple[Tensor, ...]
    head: Mapping[str, str]

    def engine(self, **settings: Any) -> Engine:
        """Return an engine on the target; ``options`` of the drafter may leave the head out."""
        device = str(self.target.device)
        # Trees of a fixed size: what is checked is what they are accepted for, and not whether they pay here.
        config = RunConfig(dtype="float32", device=device, costs="off", **settings)
        return build_engine(config, manager=create_plugin_manager(), target=self.target)


@contextmanager
def checked_target(setup: Setup) -> Iterator[Checked]:
    """Load the target that was asked for, or SmolLM2, or make one up.

    Raises:
        SpecframeError: a model was asked for and cannot be loaded.
    """
    target, said, missing = _target(setup)
    with TemporaryDirectory() as folder:
        head = {}
        try:
            load_chosen(None, target, shipped_data(create_plugin_manager()))
        except UsageError:  # none ships for it
            logging.getLogger(probe.__name__).setLevel(logging.ERROR)  # that it predicts nothing is known
            torch.manual_seed(0)
            config = EagleConfig.for_target(target.config, target_name=target.name)
            save_head(EagleHead(config), Path(folder) / "head")
            head = {"checkpoint": str(Path(folder) / "head")}
        yield Checked(target, said, missing, _prompts(target, setup), head)


def _target(setup: Setup) -> tuple[Target, str, str | None]:
    """Return the target, what it is, and why it is not SmolLM2 if that was wanted."""
    if setup.model not in (None, RANDOM):
        return Target(load_pretrained(setup.model, torch.float32, setup.device)), setup.model, None
    why = None
    if setup.model is None and setup.miniature:
        why = "no GPU: a small random target stood in; the tests have SmolLM2 on a CPU"
    elif setup.model is None:
        try:
            return Target(load_pretrained(_SMOLLM2, torch.float32, setup.device)), _SMOLLM2, None
        except (SpecframeError, ImportError) as error:
            why = f"random weights stood in: {' '.join(str(error).split())}"
    sizes = MINIATURE if setup.miniature else FULL_SIZE
    shape = "a small shape" if setup.miniature else f"the shape of {_SMOLLM2}"
    return Target(random_llama(sizes, setup.device)), f"random weights in {shape}", why


def _prompts(target: Target, setup: Setup) -> tuple[Tensor, ...]:
    """Return prompts: short texts, and ids that a chunk of the prefill does not hold."""
    generator = torch.Generator().manual_seed(0)
    long = torch.randint(target.vocab_size, (40 if setup.miniature else 700,), generator=generator)
    texts = [target.tokenizer(text, add_special_tokens=False)["input_ids"] for text in _TEXTS]
    if target.name == "a random Llama":  # its tokenizer knows no text
        texts = [torch.randint(target.vocab_size, (length,), generator=generator) for length in (3, 16, 9)]
    prompts = [torch.as_tensor(text, dtype=torch.int64) for text in texts]
    return (*(prompts[:2] if setup.miniature else prompts), long)

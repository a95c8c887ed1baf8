"""What users would run instead: transformers' own greedy decoding and prompt lookup, on the same model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import attrs
import torch
from torch import Tensor
from transformers import GenerationConfig

from specframe.bench.configurations import HF_GREEDY, HF_PROMPT_LOOKUP, Configuration
from specframe.bench.rows import BenchRow
from specframe.config import RunConfig
from specframe.contracts.options import build_options, option
from specframe.contracts.report import VERSION, GenerationReport
from specframe.contracts.sampling import SamplingParams
from specframe.engine.recorder import peak_rss_bytes
from specframe.model.target import Target
from specframe.request.tasks import Task


@attrs.frozen(slots=True)
class GreedyOptions:
    """``hf-greedy`` has no options."""


@attrs.frozen(slots=True)
class PromptLookupOptions:
    """Options of ``hf-prompt-lookup``.

    Source: Saxena, "Prompt Lookup Decoding" (2023), as transformers has it.
    """

    num_tokens: int = option(10, help="Drafted tokens per target pass.", unit="tokens", minimum=1)
    max_matching_ngram_size: int = option(
        2, help="Longest n-gram that is looked up in the text so far.", unit="tokens", minimum=1
    )


_SETTINGS: dict[str, tuple[type[Any], Callable[[Any], dict[str, Any]]]] = {
    HF_GREEDY: (GreedyOptions, lambda options: {}),
    HF_PROMPT_LOOKUP: (
        PromptLookupOptions,
        lambda options: {
            "prompt_lookup_num_tokens": options.num_tokens,
            "max_matching_ngram_size": options.max_matching_ngram_size,
        },
    ),
}


def peer_settings(configuration: Configuration) -> dict[str, Any]:
    """Return the arguments of ``generate`` for a peer.

    Raises:
        UsageError: an unknown option, or a value that does not fit.
    """
    options_class, arguments = _SETTINGS[configuration.name]
    values = configuration.options.get("vocabulary", {})
    return arguments(build_options(options_class, values, f"peer {configuration.name!r}"))


class Peer:
    """Runs transformers' ``generate`` on the target's own model object.

    Stop ids, dtype, device and length limit are this engine's. The model's generation config is left
    aside: it may ask for sampling or penalties, and then the texts would differ for no reason of speed.

    Args:
        configuration: names the peer and its options.
        target: the loaded target.
        config: what all configurations have in common.
    """

    greedy = True

    def __init__(self, configuration: Configuration, target: Target, config: RunConfig) -> None:
        self.label = configuration.label
        self._name = configuration.name
        self._target = target
        self._config = config
        self._settings = peer_settings(configuration)

    def warm_up(self, prompt_ids: Tensor, max_new_tokens: int) -> None:
        """Generate once for nothing."""
        self._generate(prompt_ids, max_new_tokens)

    def answer(self, task: Task, prompt_ids: Tensor, order: int) -> BenchRow:
        """Answer a prompt [T] and return the row; what happens within a step is unknown."""
        with _counted_passes(self._target) as passes:
            start = perf_counter()
            token_ids = self._generate(prompt_ids, self._config.max_new_tokens)
            wall_s = perf_counter() - start
        # The first pass is the prefill: it emits a token, but is no target pass.
        target_passes = len(passes) - 1
        ended = token_ids[-1] in self._target.stop_ids
        report = GenerationReport(
            id=task.id,
            task=task.task,
            strategy=self._name,
            drafter=None,
            verifier=None,
            gather=None,
            model=self._target.name,
            dtype=self._config.dtype,
            device=self._config.device,
            **SamplingParams(seed=self._config.sampling.seed).values(),
            prompt_tokens=len(prompt_ids),
            kept_tokens=0,
            token_ids=token_ids,
            text=str(self._target.tokenizer.decode(token_ids, skip_special_tokens=True)),
            finish_reason="eos" if ended else "length",
            new_tokens=len(token_ids),
            target_passes=target_passes,
            tau=(len(token_ids) - 1) / target_passes if target_passes else 0.0,
            wall_s=wall_s,
            peak_rss_bytes=peak_rss_bytes(),
            specframe_version=VERSION,
        )
        return BenchRow(report=report, category=task.category, configuration=self.label, order=order)

    @torch.inference_mode()
    def _generate(self, prompt_ids: Tensor, max_new_tokens: int) -> list[int]:
        """Return the new ids; the device is done when this returns."""
        target = self._target
        ids = prompt_ids[None].to(target.device)
        stop_ids = sorted(target.stop_ids)
        model: Any = target.model
        previous = model.generation_config
        model.generation_config = GenerationConfig(
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=stop_ids or None,
            pad_token_id=stop_ids[0] if stop_ids else 0,
            **self._settings,
        )
        try:
            output = model.generate(ids, attention_mask=torch.ones_like(ids))
        finally:
            model.generation_config = previous
        return output[0, ids.shape[1] :].tolist()  # type: ignore[no-any-return]  # transformers is untyped


@contextmanager
def _counted_passes(target: Target) -> Iterator[list[None]]:
    """Yield a list that grows by one entry with every forward of the decoder."""
    passes: list[None] = []
    handle = target.decoder.register_forward_pre_hook(lambda module, inputs: passes.append(None))
    try:
        yield passes
    finally:
        handle.remove()

"""The scheduler, which decides for all ranks how many tokens a step drafts: it asks a ``Worth``."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any
from weakref import WeakKeyDictionary

from vllm.config import VllmConfig
from vllm.logger import init_logger

from specframe.errors import SpecframeError, one_line
from specframe_vllm import metrics
from specframe_vllm.compatibility import SCHEDULER, SCHEDULER_OUTPUT
from specframe_vllm.hooks.wrapping import wrap
from specframe_vllm.settings import asked_values
from specframe_vllm.worth import Worth

_log = init_logger("vllm.specframe")

# Where a scheduler looks up how many tokens to draft, by the number of requests; None drafts always.
_TABLE = "dynamic_sd_lookup"


class DraftsByWorth:
    """Stands where vLLM looks up how many tokens to draft.

    Args:
        drafts: how many, where drafts are worth their time.
        file: takes the counts; None where they cannot be written.
        worth: decides.
        clock: seconds; None for those of this machine.
    """

    def __init__(
        self,
        drafts: int,
        file: metrics.DraftedFile | None,
        worth: Worth | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._drafts, self._file, self._clock = drafts, file, clock or time.perf_counter
        self.worth = worth or Worth()
        self._ended = 0.0
        self._requests: Collection[str] = ()
        self._undrafted_from = 0

    def __getitem__(self, requests: int) -> int:
        """Return how many tokens to draft for each of so many requests."""
        return self._drafts if self.worth.drafts(requests) else 0

    def ends(self, scheduled: Any, tokens: int) -> None:
        """Take in a step that has ended.

        Args:
            scheduled: what the scheduler said of it.
            tokens: that it emitted.
        """
        now = self._clock()
        counts: dict[str, int] = scheduled.num_scheduled_tokens
        chains: dict[str, list[int]] = scheduled.scheduled_spec_decode_tokens
        # Had one of them not been there before, the engine may have waited for it.
        follows = bool(counts) and set(counts).issubset(self._requests)
        seconds, self._ended, self._requests = now - self._ended, now, counts
        decodes = sum(counts.values()) == len(counts) + sum(map(len, chains.values()))
        drafted = scheduled.num_spec_tokens_to_schedule > 0
        if not (follows and decodes and len(chains) == (len(counts) if drafted else 0)):
            return
        changed = self.worth.took(len(counts), drafted, seconds, tokens)
        if changed is not None:
            _log.info(
                "specframe: at %d requests drafting brings %.2f times the tokens/s without; they are %s",
                changed.requests,
                changed.gain,
                "drafted" if changed.drafted else "not drafted",
            )
            self._undrafted_from = self.worth.undrafted_from or 0
        if self._file is not None:
            self._file.write(metrics.Drafted(self.worth.steps, self.worth.undrafted, self._undrafted_from))


# By scheduler: what decides in it.
_deciding: WeakKeyDictionary[Any, DraftsByWorth] = WeakKeyDictionary()


def install() -> None:
    """Listen to schedulers."""
    wrap(SCHEDULER.find(), SCHEDULER.method, _init)
    wrap(SCHEDULER_OUTPUT.find(), SCHEDULER_OUTPUT.method, _update_from_output)


def deciding_in(scheduler: Any) -> DraftsByWorth | None:
    """Return what decides in a scheduler; None where vLLM does so itself."""
    return _deciding.get(scheduler)


def _init(
    original: Callable[..., Any], self: Any, vllm_config: VllmConfig, *args: Any, **kwargs: Any
) -> None:
    original(self, vllm_config, *args, **kwargs)
    if not _asked(vllm_config):
        return
    why_not = _why_not(vllm_config, self)
    if why_not is not None:
        _log.info("specframe: every step is drafted or not as vLLM says: %s", why_not)
        return
    deciding = DraftsByWorth(self.num_spec_tokens, _drafted_file(vllm_config))
    setattr(self, _TABLE, deciding)
    _deciding[self] = deciding


def _update_from_output(
    original: Callable[..., Any], self: Any, scheduler_output: Any, model_runner_output: Any, *args: Any
) -> Any:
    """Look at what a step emitted, and when it ended."""
    deciding = _deciding.get(self)
    if deciding is not None:
        deciding.ends(scheduler_output, sum(map(len, model_runner_output.sampled_token_ids or ())))
    return original(self, scheduler_output, model_runner_output, *args)


def _asked(config: VllmConfig) -> bool:
    """Return whether the settings leave it to measured steps, for a drafter with an LM head."""
    try:
        values = asked_values(config.additional_config)
    except SpecframeError:  # the workers refuse it
        return False
    if values is None or values.get("drafts", "auto") != "auto" or values.get("strategy") == "full":
        return False
    speculative = config.speculative_config
    return speculative is not None and bool(speculative.use_eagle() or speculative.uses_draft_model())


def _why_not(config: VllmConfig, scheduler: Any) -> str | None:
    """Return why steps cannot go either way in an engine; None where they can."""
    if not hasattr(scheduler, _TABLE):
        return "this vLLM's scheduler has no table by batch size"
    if getattr(scheduler, _TABLE) is not None:
        return "num_speculative_tokens_per_batch_size is set"
    parallel = config.parallel_config
    if parallel.data_parallel_size > 1:
        return "data-parallel engines have to draft alike"
    if parallel.pipeline_parallel_size > 1:
        return "with pipeline parallelism steps overlap"
    if config.compilation_config.cudagraph_mode.has_full_cudagraphs() and not config.use_v2_model_runner:
        return "model runner V1 captures full graphs for one number of drafts"
    return None


def _drafted_file(config: VllmConfig) -> metrics.DraftedFile | None:
    try:
        return metrics.DraftedFile(metrics.folder(), config.parallel_config.data_parallel_index)
    except OSError as error:
        _log.warning("specframe: there will be no metrics of undrafted steps: %s", one_line(error))
        return None

"""What stands in for specframe's target when a strategy is built: sizes, ids and tokenizer of vLLM's."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from vllm.config import ModelConfig
from vllm.logger import init_logger

from specframe.contracts.lm_head import OutputHead
from specframe.errors import SpecframeError, UsageError, one_line
from specframe.model.target import required_ids, stop_ids, tokenizer_fingerprint

_log = init_logger("vllm.specframe")


class NotInVllmError(SpecframeError, AttributeError):
    """A strategy asked for a part of the target that vLLM's workers do not hold in specframe's form."""


class VllmTarget:
    """The part of ``specframe.model.target.Target`` that a strategy may ask for inside vLLM.

    Args:
        config: of vLLM's target.
        device: where it runs.
        head: the drafter's LM head: the rows of this rank; None before it is loaded.

    Attributes:
        name: of the target.
        vocab_size: V.
        hidden_size: H.
        config: of its text part, from transformers.
        device: where it runs.
        dtype: of its weights.
        output_head: the drafter's LM head; None before it is loaded.
    """

    def __init__(self, config: ModelConfig, device: torch.device, head: OutputHead | None) -> None:
        self._model_config = config
        self.name = str(config.model)
        self.vocab_size = int(config.get_vocab_size())
        self.hidden_size = int(config.get_hidden_size())
        self.config = config.hf_text_config
        self.device, self.dtype = device, config.dtype
        self.output_head = head

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The target's tokenizer, loaded when something first asks for it.

        Raises:
            UsageError: there is none that transformers can load.
        """
        if self._tokenizer is None:
            raise UsageError(
                f"{self.name} has no tokenizer that can be loaded, and this strategy needs one; allowed: a "
                "strategy that needs none, or a tokenizer for the engine"
            )
        return self._tokenizer

    @cached_property
    def tokenizer_fingerprint(self) -> str:
        """A hash of the tokenizer's ids; empty without a tokenizer."""
        return "" if self._tokenizer is None else tokenizer_fingerprint(self._tokenizer)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a generation; without a tokenizer those that the configs name."""
        declared = (
            self._model_config.try_get_generation_config().get("eos_token_id"),
            getattr(self.config, "eos_token_id", None),
        )
        lists = (ids if isinstance(ids, list) else [ids] for ids in declared if ids is not None)
        named = frozenset(token for ids in lists for token in ids)
        return named if self._tokenizer is None else stop_ids(self._tokenizer, named)

    @cached_property
    def required_ids(self) -> Tensor:
        """Ids every active set keeps [n] int64; without a tokenizer those that end a generation."""
        if self._tokenizer is not None:
            return required_ids(self._tokenizer, self.stop_ids, self.vocab_size).to(self.device)
        ids = sorted(token for token in self.stop_ids if token < self.vocab_size)
        return torch.tensor(ids, dtype=torch.int64).to(self.device)

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase | None:
        config = self._model_config
        try:
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                config.tokenizer,
                revision=config.tokenizer_revision,
                trust_remote_code=config.trust_remote_code,
            )
        except Exception as error:  # any file may be missing, and a tokenizer may run code of its own
            _log.warning(
                "specframe: %s has no tokenizer that can be loaded; of its special tokens only those that "
                "end a text are always active: %s",
                self.name,
                one_line(error),
            )
            return None
        return tokenizer

    def __getattr__(self, name: str) -> Any:
        raise NotInVllmError(
            f"inside vLLM there is no {name} of the target; this strategy needs specframe's engine"
        )

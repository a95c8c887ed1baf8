"""What stands in for the target when a strategy is built from a trace: its sizes and ids, no weights."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from specframe.contracts.lm_head import OutputHead
from specframe.errors import SpecframeError
from specframe.model.language_model import LanguageModel
from specframe.model.loading import load_tokenizer, open_pretrained
from specframe.model.target import tokenizer_fingerprint
from specframe.registry.placement import find_dtype
from specframe.replay.trace import TraceHeader
from specframe.replay.trace_file import TraceError


class NotInTraceError(SpecframeError, AttributeError):
    """A strategy asked for a part of the target that a trace does not hold."""


class TracedTarget:
    """The part of ``specframe.model.target.Target`` that a strategy may ask for without a model.

    Args:
        header: of the trace.

    Attributes:
        name: of the target, as in the trace.
        vocab_size: V.
        tokenizer_fingerprint: of its tokenizer.
        stop_ids: ids that end a generation.
        required_ids: ids every active set keeps [n] int64.
        output_head: V rows without columns, enough to keep the books of an active set.
        device: always the CPU.
        dtype: of the weights that are not here.
    """

    def __init__(self, header: TraceHeader) -> None:
        self.name = header.model
        self.vocab_size = header.vocab_size
        self.tokenizer_fingerprint = header.tokenizer_fingerprint
        self.stop_ids = frozenset(header.stop_ids)
        self.required_ids: Tensor = torch.tensor(header.required_ids, dtype=torch.int64)
        self.output_head = OutputHead(torch.empty(header.vocab_size, 0))
        self.device = torch.device("cpu")
        self.dtype = find_dtype(header.dtype)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The target's tokenizer, loaded when a strategy first asks for it.

        Raises:
            TraceError: the model of that name has another tokenizer now.
            SpecframeError: the tokenizer is not here.
        """
        tokenizer = load_tokenizer(self.name)
        found = tokenizer_fingerprint(tokenizer)
        if found != self.tokenizer_fingerprint:
            raise TraceError(
                f"the trace was recorded with tokenizer {self.tokenizer_fingerprint}, but {self.name} has "
                f"tokenizer {found}"
            )
        return tokenizer

    @cached_property
    def embed_tokens(self) -> nn.Module:
        """The target's input embedding; the model is opened when a strategy first asks for it.

        Raises:
            TraceError: the model of that name has another tokenizer now.
            SpecframeError: the model is not here.
        """
        self.tokenizer  # noqa: B018 - raises where it is another one
        return LanguageModel(open_pretrained(self.name, self.dtype)).embed_tokens

    def __getattr__(self, name: str) -> Any:
        raise NotInTraceError(f"a trace holds no {name} of the target; this strategy needs the model itself")

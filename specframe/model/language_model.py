"""A transformers causal LM as this package runs it: a forward for its layers, and its LM head as numbers."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from specframe.contracts.kinds import ForwardName
from specframe.contracts.lm_head import OutputHead
from specframe.errors import SpecframeError, UsageError
from specframe.model.forward import Forward, append, candidates
from specframe.model.loading import LoadedModel

_PROBE_TEXT = "The lighthouse keeper counted 27 ships before the fog came in from the west."
_PROBE_TOKENS = 16

_log = logging.getLogger(__name__)


class LanguageModel:
    """A decoder-only model whose logits can be reproduced from its layers and its LM head.

    Args:
        loaded: a decoder-only transformers model with a linear LM head, its tokenizer and its name.
        forward: what runs its layers; ``auto`` takes the fastest that reproduces the model here.

    Attributes:
        output_head: its LM head.
        forward: runs its layers, one sequence at a time.
        forward_name: which one: ``lean`` or ``transformers``.

    Raises:
        UsageError: the model is of a kind whose logits or attention masks cannot be reproduced.
    """

    def __init__(self, loaded: LoadedModel, forward: ForwardName = "auto") -> None:
        model, self.tokenizer, self.name = loaded.model, loaded.tokenizer, loaded.name
        self.model = model.eval().requires_grad_(False)
        self.config = model.config.get_text_config()
        self.device = model.device
        self.dtype = model.dtype
        self.decoder: Any = model.get_decoder()
        embedding = model.get_input_embeddings()
        if not isinstance(embedding, nn.Module):
            raise UsageError(f"{self.name} has no input embedding; allowed: decoder-only language models")
        self.embed_tokens = embedding
        self.output_head = _output_head(model, self.name)
        self.forward_name, self.forward = self._choose_forward(forward)

    @property
    def vocab_size(self) -> int:
        """V, rows of the LM head."""
        return self.output_head.vocab_size

    @property
    def hidden_size(self) -> int:
        """H."""
        return self.output_head.hidden_size

    @property
    def max_positions(self) -> int:
        """How many tokens a sequence may have, prompt and output together."""
        return int(getattr(self.config, "max_position_embeddings", None) or 2**31)

    @torch.inference_mode()
    def _choose_forward(self, chosen: ForwardName) -> tuple[ForwardName, Forward]:
        """Return the first forward that reproduces the model's own logits, and its name.

        A model with another head (extra scaling, several heads), other attention or another rotation would
        otherwise lose exactness silently.
        """
        text_ids = self.tokenizer(_PROBE_TEXT, add_special_tokens=False)["input_ids"]
        probe = [*text_ids, *range(1, _PROBE_TOKENS + 1)][:_PROBE_TOKENS]
        ids = torch.tensor(probe, device=self.device) % self.vocab_size
        expected = self.model(input_ids=ids[None]).logits[0].float()
        if not torch.isfinite(expected).all():
            raise SpecframeError(f"{self.name} returns logits that are not finite in {self.dtype}")
        # Passes of 8 and 16 tokens through the same bfloat16 layers are up to 0.07 apart (Gemma 3 270M).
        tolerance = 1e-3 if self.dtype == torch.float32 else 0.15
        for name, build in candidates(self.model, self.name, chosen):
            forward = build()
            forward.begin(len(ids))
            hidden = torch.cat([append(forward, part)[0] for part in ids.split(_PROBE_TOKENS // 2)])
            error = _relative_error(self.output_head.logits(hidden).float(), expected)
            if error <= tolerance:
                _log.info("forward of %s: %s", self.name, name)
                return name, forward
            _log.warning("forward %s does not reproduce %s: logits off by %.2g", name, self.name, error)
        raise UsageError(
            f"{self.name} ({type(self.model).__name__}) computes its logits in a way this version cannot "
            "reproduce; allowed: decoder-only models with one linear LM head, scaled or soft-capped"
        )


def _relative_error(logits: Tensor, expected: Tensor) -> float:
    """Return how far logits [n, V] are from what was expected, as a share of their spread in each row."""
    spread = expected - expected.mean(dim=-1, keepdim=True)
    return float((logits - expected).norm() / spread.norm())


def _output_head(model: PreTrainedModel, name: str) -> OutputHead:
    linear = model.get_output_embeddings()
    if not isinstance(linear, nn.Linear):
        raise UsageError(f"{name} has no linear LM head; allowed: decoder-only language models")
    config = model.config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(
        getattr(config, "logits_scaling", None) or 1.0
    )
    softcap = getattr(config, "final_logit_softcapping", None)
    return OutputHead(linear.weight, linear.bias, scale, float(softcap) if softcap else None)

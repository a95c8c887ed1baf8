"""A transformers causal LM as a target: prefill, tree pass, KV commit."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from specframe.config import ForwardName
from specframe.errors import SpecframeError, UsageError
from specframe.forward import Forward, candidates, causal_mask
from specframe.head import OutputHead
from specframe.models import LoadedModel
from specframe.turnstile import Turnstile
from specframe.types import DraftTree

# Rows of the LM head's input per matmul when harvesting a prompt: bounds memory to 64 x V logits.
_HARVEST_ROWS = 64

# Tokens that chat templates close a turn with; generation configs often leave them out.
_END_OF_TURN = ("<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|end|>")

_PROBE_TEXT = "The lighthouse keeper counted 27 ships before the fog came in from the west."
_PROBE_TOKENS = 16

_log = logging.getLogger(__name__)


@attrs.frozen(slots=True, eq=False)
class Prefill:
    """What the target says about a prompt of T tokens.

    Attributes:
        logits: after the last position [1, V].
        features: at every position [T, F].
        topk_ids: the target's top ids after each of the last P positions [P, k]; None when not asked for.
    """

    logits: Tensor
    features: Tensor
    topk_ids: Tensor | None


@attrs.frozen(slots=True, eq=False)
class TreePass:
    """What the target says about a draft tree: logits [N, V] and features [N, F]."""

    logits: Tensor
    features: Tensor


class Target:
    """The model whose output counts.

    Args:
        model: a decoder-only transformers model with a linear LM head.
        tokenizer: its tokenizer.
        name: how users call it.
        forward: what runs its layers; ``auto`` takes the fastest that reproduces the model here.

    Attributes:
        stop_ids: ids that end a generation: EOS, and the end of a turn where the chat template has one.
        forward_name: what runs its layers: ``lean`` or ``transformers``.
        turnstile: keeps requests from running into each other, those of several engines included.
        begun: how often ``begin`` was called; what the KV cache held before is gone.

    Raises:
        UsageError: the model is of a kind whose logits or attention masks this adapter cannot reproduce.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        name: str,
        forward: ForwardName = "auto",
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.config = model.config.get_text_config()
        self.device = model.device
        self.dtype = model.dtype
        self.decoder: Any = model.get_decoder()
        embedding = model.get_input_embeddings()
        if not isinstance(embedding, nn.Module):
            raise UsageError(f"{name} has no input embedding; allowed: decoder-only language models")
        self.embed_tokens = embedding
        self.output_head = _output_head(model, name)
        self.tokenizer_fingerprint = tokenizer_fingerprint(tokenizer)
        self.stop_ids = _stop_ids(model, tokenizer)
        self._feature_layers: tuple[int, ...] = ()
        self.turnstile = Turnstile()
        self.begun = 0
        self.forward_name, self._forward = self._choose_forward(forward)
        if self.forward_name == "lean":
            self.output_head = self.output_head.packed()

    @classmethod
    def from_loaded(cls, loaded: LoadedModel, forward: ForwardName = "auto") -> Target:
        """Return the target for a model loaded by ``specframe.models``."""
        return cls(loaded.model, loaded.tokenizer, loaded.name, forward)

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

    @property
    def required_ids(self) -> Tensor:
        """Ids every active set keeps [n]: those that end a generation and the tokenizer's special ids."""
        ids = self.stop_ids | set(self.tokenizer.all_special_ids)
        return torch.tensor(sorted(i for i in ids if i < self.vocab_size), device=self.device)

    def begin(self, capacity: int, keep: int = 0, feature_layers: tuple[int, ...] = ()) -> None:
        """Begin a request.

        Args:
            capacity: positions of the KV cache to make room for.
            keep: how many of its first positions stay.
            feature_layers: whose inputs are the features of this request, as in ``Forward.run``.
        """
        self._feature_layers = feature_layers
        self.begun += 1
        self.turnstile.pass_by()
        self._forward.begin(capacity, keep)

    @torch.inference_mode()
    def prefill(
        self, prompt_ids: Tensor, *, chunk: int = 512, harvest_topk: int = 0, harvest_window: int = 0
    ) -> Prefill:
        """Read a prompt, chunk by chunk; the LM head runs only over the rows that are asked for.

        Args:
            prompt_ids: [T] int64.
            chunk: prompt tokens per pass.
            harvest_topk: how many of the target's top ids to return per position.
            harvest_window: for how many of the last positions.
        """
        parts = [_append(self._forward, ids, self._feature_layers) for ids in prompt_ids.split(chunk)]
        hidden, features = (torch.cat(part) for part in zip(*parts, strict=True))
        topk_ids = None
        if harvest_topk and harvest_window:
            rows = hidden[-harvest_window:].split(_HARVEST_ROWS)
            topk_ids = torch.cat([top_ids(self.output_head.logits(part), harvest_topk) for part in rows])
        return Prefill(self.output_head.logits(hidden[-1:]), features, topk_ids)

    @torch.inference_mode()
    def tree_pass(self, tree: DraftTree) -> TreePass:
        """Run one forward over all N nodes; every node attends to the context and its ancestors."""
        positions = self._forward.committed + tree.depths
        hidden, features = self._forward.run(
            tree.token_ids, positions, tree.ancestor_mask(), self._feature_layers
        )
        return TreePass(self.output_head.logits(hidden), features)

    def commit(self, path: tuple[int, ...]) -> None:
        """Keep the KV entries of the accepted path of the last tree pass, root included."""
        self._forward.commit(path)

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
            hidden = torch.cat([_append(forward, part)[0] for part in ids.split(_PROBE_TOKENS // 2)])
            error = _relative_error(self.output_head.logits(hidden).float(), expected)
            if error <= tolerance:
                _log.info("target forward of %s: %s", self.name, name)
                return name, forward
            _log.warning(
                "target forward %s does not reproduce %s: logits off by %.2g", name, self.name, error
            )
        raise UsageError(
            f"{self.name} ({type(self.model).__name__}) computes its logits in a way this version cannot "
            "reproduce; allowed: decoder-only models with one linear LM head, scaled or soft-capped"
        )


def _append(forward: Forward, ids: Tensor, feature_layers: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    """Run and commit n tokens in a row; return their last hidden states [n, H] and features [n, F]."""
    n, start = len(ids), forward.committed
    positions = torch.arange(start, start + n, device=ids.device)
    states = forward.run(ids, positions, causal_mask(n, ids.device), feature_layers)
    forward.commit(tuple(range(n)))
    return states


def _relative_error(logits: Tensor, expected: Tensor) -> float:
    """Return how far logits [n, V] are from what was expected, as a share of their spread in each row."""
    spread = expected - expected.mean(dim=-1, keepdim=True)
    return float((logits - expected).norm() / spread.norm())


def top_ids(logits: Tensor, k: int) -> Tensor:
    """Return the ids of the k largest logits per row [N, k], for logits [N, V]."""
    return logits.topk(k, dim=-1).indices


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a short hash of the mapping from tokens to ids; equal for tokenizers that agree on every id."""
    digest = hashlib.sha256()
    for token, token_id in sorted(tokenizer.get_vocab().items(), key=lambda item: (item[1], item[0])):
        digest.update(f"{token_id}\t{token}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


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


def _stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the ids that end a generation: EOS, and the end of a turn where the chat template has one."""
    ids: set[int] = set()
    for declared in (model.generation_config.eos_token_id, model.config.get_text_config().eos_token_id):
        ids.update(declared if isinstance(declared, list) else [] if declared is None else [declared])
    vocabulary, template = tokenizer.get_vocab(), str(tokenizer.chat_template or "")
    ids.update(vocabulary[token] for token in _END_OF_TURN if token in vocabulary and token in template)
    return frozenset(ids)

"""A transformers causal LM as a target: prefill, tree pass, KV commit."""

from __future__ import annotations

import hashlib
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from specframe.errors import SpecframeError, UsageError
from specframe.head import OutputHead
from specframe.kv_cache import TreeCache
from specframe.models import LoadedModel
from specframe.types import DraftTree

# Rows of the LM head's input per matmul when harvesting a prompt: bounds memory to 64 x V logits.
_HARVEST_ROWS = 64

# Tokens that chat templates close a turn with; generation configs often leave them out.
_END_OF_TURN = ("<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|end|>")


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

    Attributes:
        stop_ids: ids that end a generation: EOS, and the end of a turn where the chat template has one.

    Raises:
        UsageError: the model is of a kind whose logits or attention masks this adapter cannot reproduce.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
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
        self._windows = _attention_windows(self.config)
        self._cache: TreeCache | None = None
        self._probe()

    @classmethod
    def from_loaded(cls, loaded: LoadedModel) -> Target:
        """Return the target for a model loaded by ``specframe.models``."""
        return cls(loaded.model, loaded.tokenizer, loaded.name)

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

    def begin(self, capacity: int, keep: int = 0) -> None:
        """Make room for ``capacity`` positions in the KV cache and forget all but the first ``keep``."""
        if self._cache is None or (self._cache.capacity < capacity and not keep):
            self._cache = TreeCache(self.config.num_hidden_layers, capacity)
        self._cache.keep(keep)
        self._cache.grow(capacity)

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
        features = []
        for ids in prompt_ids.split(chunk):
            start = self.cache.committed
            positions = torch.arange(start, start + len(ids), device=self.device)
            mask = torch.ones(len(ids), len(ids), dtype=torch.bool, device=self.device).tril()
            features.append(self._forward(ids, positions, mask))
            self.cache.commit(tuple(range(len(ids))))
        hidden = torch.cat(features)
        topk_ids = None
        if harvest_topk and harvest_window:
            rows = hidden[-harvest_window:].split(_HARVEST_ROWS)
            topk_ids = torch.cat([top_ids(self.output_head.logits(part), harvest_topk) for part in rows])
        return Prefill(self.output_head.logits(hidden[-1:]), hidden, topk_ids)

    @torch.inference_mode()
    def tree_pass(self, tree: DraftTree) -> TreePass:
        """Run one forward over all N nodes; every node attends to the context and its ancestors."""
        positions = self.cache.committed + tree.depths
        hidden = self._forward(tree.token_ids, positions, tree.ancestor_mask())
        return TreePass(self.output_head.logits(hidden), hidden)

    def commit(self, path: tuple[int, ...]) -> None:
        """Keep the KV entries of the accepted path of the last tree pass, root included."""
        self.cache.commit(path)

    @property
    def cache(self) -> TreeCache:
        """The KV cache of the request in progress."""
        if self._cache is None:
            raise RuntimeError("Target.begin() comes before the first pass")
        return self._cache

    def _forward(self, ids: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Return the last hidden states [n, H] of n new tokens that see the context and ``mask`` [n, n]."""
        masks = {
            kind: self._attention_mask(positions, mask, window) for kind, window in self._windows.items()
        }
        attention_mask = masks.get("", masks)
        output = self.decoder(
            input_ids=ids[None],
            position_ids=positions[None],
            attention_mask=attention_mask,
            past_key_values=self.cache,
            use_cache=True,
        )
        return output.last_hidden_state[0]  # type: ignore[no-any-return]  # transformers outputs are untyped

    def _attention_mask(self, positions: Tensor, mask: Tensor, window: int | None) -> Tensor:
        """Return who sees whom [1, 1, n, committed + n]: bool for SDPA, additive for other attention."""
        committed = self.cache.committed
        n = len(positions)
        visible = torch.ones(n, committed + n, dtype=torch.bool, device=self.device)
        visible[:, committed:] = mask
        if window is not None:
            key_positions = torch.cat([torch.arange(committed, device=self.device), positions])
            visible &= key_positions[None] > positions[:, None] - window
        if self.config._attn_implementation == "sdpa":
            return visible[None, None]
        floor = torch.finfo(self.dtype).min
        return torch.zeros(visible.shape, dtype=self.dtype, device=self.device).masked_fill(~visible, floor)[
            None, None
        ]

    @torch.inference_mode()
    def _probe(self) -> None:
        """Check on a few tokens that head and masks reproduce the model's own forward.

        A model with another head (extra scaling, several heads) or other attention would otherwise lose
        exactness silently.
        """
        ids = torch.arange(1, 6, device=self.device) % self.vocab_size
        expected = self.model(input_ids=ids[None]).logits[0].float()
        self.begin(len(ids))
        mask = torch.ones(len(ids), len(ids), dtype=torch.bool, device=self.device).tril()
        logits = self.output_head.logits(
            self._forward(ids, torch.arange(len(ids), device=self.device), mask)
        ).float()
        self._cache = None
        tolerance = 1e-3 if self.dtype == torch.float32 else 0.1
        scale = expected.abs().max().clamp(min=1.0)
        if not torch.isfinite(expected).all():
            raise SpecframeError(f"{self.name} returns logits that are not finite in {self.dtype}")
        if (logits - expected).abs().max() > tolerance * scale:
            raise UsageError(
                f"{self.name} ({type(self.model).__name__}) computes its logits in a way this version cannot "
                "reproduce; allowed: decoder-only models with one linear LM head, scaled or soft-capped"
            )


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


def _attention_windows(config: Any) -> dict[str, int | None]:
    """Return the sliding window per layer type; the key "" stands for models that take one mask."""
    layer_types = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if not layer_types:
        return {"": window}
    known: dict[str, int | None] = {"full_attention": None, "sliding_attention": window}
    strange = sorted(set(layer_types) - set(known))
    if strange:
        raise UsageError(f"attention of type {strange[0]!r} is not supported; allowed: {', '.join(known)}")
    return {kind: known[kind] for kind in dict.fromkeys(layer_types)}

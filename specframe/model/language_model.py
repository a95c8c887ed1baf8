"""A transformers causal LM as this package runs it: a forward for its layers, and its LM head as numbers."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor, nn

from specframe.contracts.kinds import ForwardName
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.numbers import is_whole
from specframe.errors import SpecframeError, UsageError, one_line
from specframe.model.answer import Answer, text_ids
from specframe.model.candidates import build_forward, candidates
from specframe.model.dense_head import dense_linear, why_not_row_by_row
from specframe.model.forward import Forward, attention_windows
from specframe.model.lean.parts import embedding_scale
from specframe.model.loading import LoadedModel, open_pretrained
from specframe.model.probe import MOST_BESIDE, read_through_a_tree, telling_lengths
from specframe.model.stored import StoredModel, StoredParts
from specframe.model.supported import NEEDS, check_supported, longrope_limits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What configs call the number of their positions.
_POSITIONS = ("max_position_embeddings", "max_target_positions")

_log = logging.getLogger(__name__)


class LanguageModel:
    """A decoder-only model whose logits can be reproduced from its layers and its LM head.

    Args:
        loaded: a decoder-only transformers model with a linear LM head, its tokenizer and its name; or such
            a model on disk, of which only what a run needs is brought into memory.
        forward: what runs its layers; ``auto`` takes the fastest that reproduces the model here.

    Attributes:
        config: of its text part.
        device: where it runs.
        dtype: in which it runs.
        embed_tokens: its input embedding.
        embedding_scale: factor that it puts on the embedding's rows (Gemma).
        output_head: its LM head.
        forward: runs its layers, one sequence at a time.
        forward_name: which one: ``lean``, ``openvino`` or ``transformers``.
        parameters: how many numbers its weights are.
        declared_eos: ids that its configs end a text with.

    Raises:
        UsageError: the model is of a kind whose logits or attention masks cannot be reproduced.
    """

    def __init__(self, loaded: LoadedModel | StoredModel, forward: ForwardName = "auto") -> None:
        self.tokenizer, self.name = loaded.tokenizer, loaded.name
        self._loaded = loaded
        running = _from_disk(loaded, forward) if isinstance(loaded, StoredModel) else None
        if running is None:
            running = _in_memory(self.model, self.tokenizer, self.name, forward)
        self.config, self.device, self.dtype = running.config, running.device, running.dtype
        self.embed_tokens, self.output_head = running.embed_tokens, running.output_head
        self.embedding_scale = running.embedding_scale
        self.forward_name, self.forward = running.forward_name, running.forward
        self.parameters, self.declared_eos = running.parameters, running.declared_eos

    @cached_property
    def model(self) -> PreTrainedModel:
        """The transformers model; one that was left on disk is loaded now, and stays in memory."""
        loaded = self._loaded
        model = loaded.model if isinstance(loaded, LoadedModel) else loaded.load()
        model.eval()
        return model

    @property
    def generation_config(self) -> dict[str, Any]:
        """What the model's generation config sets, by name."""
        return self._loaded.generation_config

    @property
    def decoder(self) -> Any:
        """The layers of ``model``, without its LM head."""
        return self.model.get_decoder()

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
        declared = (getattr(self.config, name, None) for name in _POSITIONS)
        return next((int(positions) for positions in declared if positions), 2**31)

    @cached_property
    def long_from(self) -> int | None:
        """How many tokens a sequence has at most before all of its rotations become others (longrope).

        None for models whose rotations depend on the position alone.
        """
        return min(longrope_limits(self.config), default=None)


@attrs.frozen(slots=True, kw_only=True, eq=False)
class _Running:
    """What a ``LanguageModel`` runs with; the fields are those of its attributes."""

    config: Any
    device: torch.device
    dtype: torch.dtype
    embed_tokens: nn.Module
    embedding_scale: float
    output_head: OutputHead
    forward_name: ForwardName
    forward: Forward
    parameters: int
    declared_eos: frozenset[int]


@torch.inference_mode()
def _in_memory(model: PreTrainedModel, tokenizer: Any, name: str, chosen: ForwardName) -> _Running:
    """Return the first forward that reproduces the model's own logits.

    A model with another head (extra scaling, several heads), other attention or another rotation would
    otherwise lose exactness silently.
    """
    embedding, linear = model.get_input_embeddings(), model.get_output_embeddings()
    if not isinstance(embedding, nn.Module):
        raise UsageError(f"{name} has no input embedding; allowed: decoder-only language models")
    if not isinstance(linear, nn.Module):
        raise UsageError(f"{name} has no linear LM head; allowed: decoder-only language models")
    check_supported(model.config, name)
    reason = why_not_row_by_row(model)
    if reason is not None:
        raise UsageError(f"{name} ({type(model).__name__}) {reason}")
    config = model.config.get_text_config()
    head = _output_head(*dense_linear(linear, config.hidden_size, model.dtype, name), config)
    try:
        answer = Answer.of(model, text_ids(tokenizer, head.vocab_size, model.device), name)
    except SpecframeError:
        raise
    except Exception as error:  # code of any model
        raise UsageError(
            f"{name} ({type(model).__name__}) does not run here ({one_line(error)}); {NEEDS}"
        ) from error
    declared = getattr(model.generation_config, "eos_token_id", None)
    for build in candidates(model, name, chosen):
        try:
            forward_name, forward = build()
        except SpecframeError:
            raise
        except Exception as error:  # what a config says may be anything
            _log.warning("a forward of %s cannot be built: %s", name, one_line(error))
            continue
        if _reproduces(answer, forward, head, name, forward_name, _tolerance(head)):
            if forward_name == "transformers":
                _check_distances(model, forward, head, name)
            return _Running(
                config=config,
                device=model.device,
                dtype=model.dtype,
                embed_tokens=embedding,
                embedding_scale=embedding_scale(embedding),
                output_head=head,
                forward_name=forward_name,
                forward=forward,
                parameters=_count(model),
                declared_eos=_ids(declared, name) | _ids(config.eos_token_id, name),
            )
    raise UsageError(
        f"{name} ({type(model).__name__}) computes its logits in a way this version cannot "
        "reproduce; allowed: decoder-only models with one linear LM head, scaled or soft-capped, that take "
        "masks and position ids (ALiBi and other positions counted in the cache do not, nor do "
        "inputs that are quantized as they come)"
    )


def _count(model: PreTrainedModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@torch.inference_mode()
def _from_disk(stored: StoredModel, chosen: ForwardName) -> _Running | None:
    """Return a forward over weights that are nowhere else in memory; None where it cannot be.

    The head comes first: while it is packed there are two copies of it, and nothing else yet.
    """
    record = None if chosen == "transformers" else stored.ask()
    if record is None:
        return None
    head = _output_head(stored.head_rows(), None, record.config, stored.packed_head())
    parts = StoredParts(stored, record)
    windows = attention_windows(record.config)
    forward_name, forward = build_forward(parts, windows, chosen, stored.name)
    if not _reproduces(record.answer, forward, head, stored.name, forward_name, _tolerance(head)):
        return None
    return _Running(
        config=record.config,
        device=parts.device,
        dtype=stored.dtype,
        embed_tokens=parts.embed,
        embedding_scale=parts.facts.embedding_scale,
        output_head=head,
        forward_name=forward_name,
        forward=forward,
        parameters=stored.files.elements,
        declared_eos=_ids(stored.generation_config.get("eos_token_id"), stored.name)
        | _ids(record.config.eos_token_id, stored.name),
    )


def load_output_head(name: str, dtype: torch.dtype) -> OutputHead:
    """Return the LM head of a model on the CPU; of one that can stay on disk nothing else is read.

    Args:
        name: as for ``load_pretrained``.
        dtype: of the weights.

    Raises:
        UsageError: there is no such model here, or it has no linear LM head.
    """
    opened = open_pretrained(name, dtype)
    if isinstance(opened, StoredModel):
        return _output_head(opened.head_rows(), None, opened.config.get_text_config())
    linear, config = opened.model.get_output_embeddings(), opened.model.config.get_text_config()
    if not isinstance(linear, nn.Module):
        raise UsageError(f"{name} has no linear LM head; allowed: decoder-only language models")
    with torch.inference_mode():
        return _output_head(*dense_linear(linear, config.hidden_size, opened.model.dtype, name), config)


def _reproduces(
    answer: Answer,
    forward: Forward,
    head: OutputHead,
    name: str,
    forward_name: ForwardName,
    tolerance: float,
    beside: int = 0,
) -> bool:
    """Return whether a forward gives a model's answer, draft tree and all; where not, there is a warning.

    ``beside`` is that of ``read_through_a_tree``.
    """
    try:
        hidden = read_through_a_tree(forward, answer.ids, beside)
    except Exception as failure:  # code of any model, given masks and a cache that it may not know
        _log.warning("forward %s does not run %s: %s", forward_name, name, one_line(failure))
        return False
    if hidden.shape[-1] != head.hidden_size:
        _log.warning(
            "forward %s does not reproduce %s: layers of %d numbers and an LM head that reads %d",
            forward_name,
            name,
            hidden.shape[-1],
            head.hidden_size,
        )
        return False
    error = answer.error_of(head.logits(hidden[-len(answer.logits) :]))
    if error <= tolerance:
        _log.info("forward of %s: %s", name, forward_name)
        return True
    _log.warning("forward %s does not reproduce %s: logits off by %.2g", forward_name, name, error)
    return False


def _tolerance(head: OutputHead, in_float32: float = 1e-3) -> float:
    """Return how far from a model's answer what reproduces it may be."""
    # Passes of 8 and 16 tokens through the same bfloat16 layers are up to 0.07 apart (Gemma 3 270M).
    return in_float32 if head.dtype == torch.float32 else 0.15


def _check_distances(model: PreTrainedModel, forward: Forward, head: OutputHead, name: str) -> None:
    """Raise ``UsageError`` for a model whose attention at a distance is not that of its masks."""
    config = model.config.get_text_config()
    for distance, length in telling_lengths(config, _count(model)).items():
        ids = (torch.arange(length, device=model.device) * 37 + 3) % head.vocab_size
        ids[3::4] = ids[
            :-3:4
        ]  # tokens come again, as in texts: what is chosen by their values alone has ties
        answer = Answer.of(model, ids, name, last=16)
        # One key too few of hundreds is little; what is right is off by 1e-6.
        beside = min(distance, MOST_BESIDE)
        if not _reproduces(answer, forward, head, name, "transformers", _tolerance(head, 1e-4), beside):
            raise UsageError(
                f"{name} ({type(model).__name__}) attends in a way of its own at a distance of "
                f"{distance} tokens; allowed: models that take masks and position ids"
            )


def _output_head(weight: Any, bias: Tensor | None, config: Any, product: Any = None) -> OutputHead:
    """Return an LM head, scaled and soft-capped as the config of its model says."""
    scale, softcap = _number(config, "logit_scale", 1.0), _number(config, "final_logit_softcapping", 0.0)
    scale /= _number(config, "logits_scaling", 1.0)
    return OutputHead(weight, bias, scale, softcap or None, product=product)


def _number(config: Any, name: str, default: float) -> float:
    value = getattr(config, name, None) or default
    if not isinstance(value, int | float):
        raise UsageError(f"the model's config has the {name} {value!r}; allowed: a number")
    return float(value)


def _ids(declared: Any, name: str) -> frozenset[int]:
    """Return the ids that a config of a model ends a text with: an id, several, or None."""
    ids = declared if isinstance(declared, list | tuple) else [] if declared is None else [declared]
    if not all(is_whole(id) and abs(id) < 2**63 for id in ids):
        raise UsageError(f"{name} has the eos_token_id {declared!r}; allowed: a token id, or a list of them")
    return frozenset(map(int, ids))

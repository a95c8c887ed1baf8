"""A model's own answer to a short text, which every forward has to reproduce; and its file."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor

from specframe.errors import SpecframeError, one_line
from specframe.model.lean.parts import DecoderFacts, layer_types

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_TEXT = "The lighthouse keeper counted 27 ships before the fog came in from the west."
_TOKENS = 16
_COLUMNS = 1024  # logits per position that a file keeps; a wrong forward is wrong in all of them

_log = logging.getLogger(__name__)


@attrs.frozen(slots=True, eq=False)
class Answer:
    """What a model says after the tokens of a text.

    Attributes:
        ids: the text [T] int64.
        columns: the tokens whose logits are kept [C] int64.
        logits: their logits after the last n tokens [n, C] float32.
    """

    ids: Tensor
    columns: Tensor
    logits: Tensor

    @classmethod
    @torch.inference_mode()
    def of(cls, model: PreTrainedModel, ids: Tensor, name: str, last: int | None = None) -> Answer:
        """Ask a model.

        Args:
            model: the model.
            ids: the text [T] int64.
            name: how users call the model.
            last: how many of the last tokens count; None for all.

        Raises:
            SpecframeError: a logit is not finite.
        """
        logits = model(input_ids=ids[None]).logits[0, -(last or len(ids)) :].float()
        if not torch.isfinite(logits).all():
            raise SpecframeError(f"{name} returns logits that are not finite in {model.dtype}")
        return cls(ids, torch.arange(logits.shape[1], device=ids.device), logits)

    def error_of(self, logits: Tensor) -> float:
        """Return how far logits [n, V] are from these, as a share of their spread at each position."""
        spread = self.logits - self.logits.mean(dim=-1, keepdim=True)
        return float((logits.float()[:, self.columns] - self.logits).norm() / spread.norm())

    def abridged(self) -> Answer:
        """Return the same answer with the logits of tokens at even distances only."""
        every = max(1, len(self.columns) // _COLUMNS)
        return Answer(self.ids, self.columns[::every].clone(), self.logits[:, ::every].clone())


@attrs.frozen(slots=True, eq=False)
class Record:
    """What has to be known of a model to run its decoder without its code.

    Attributes:
        answer: what every forward has to reproduce.
        facts: what its modules hold besides their weights.
        config_json: the config of its text part, every default filled in.
    """

    answer: Answer
    facts: DecoderFacts
    config_json: str

    @cached_property
    def config(self) -> Any:
        """The config, of no class: those of model types take as long to import as the models."""
        from transformers import PreTrainedConfig

        return PreTrainedConfig.from_dict(json.loads(self.config_json))

    @classmethod
    def of(cls, model: PreTrainedModel, ids: Tensor, name: str) -> Record:
        """Ask a model that the lean forward can run; raises as ``Answer.of`` does."""
        config = model.config.get_text_config()
        facts = DecoderFacts.of(model, layer_types(config))
        return cls(Answer.of(model, ids, name).abridged(), facts, config.to_json_string(use_diff=False))

    def save(self, path: Path) -> None:
        """Write a file in one piece; where that is not possible, there will be none."""
        from safetensors.torch import save_file

        tensors = {"ids": self.answer.ids, "columns": self.answer.columns, "logits": self.answer.logits}
        frequencies = self.facts.frequencies
        tensors |= {f"frequencies.{kind}": inverse.clone() for kind, (inverse, _) in frequencies.items()}
        numbers = {
            "head_dim": self.facts.head_dim,
            "scaling": self.facts.scaling,
            "embedding_scale": self.facts.embedding_scale,
            "rotation": {kind: factor for kind, (_, factor) in frequencies.items()},
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-") as scratch:
                metadata = {"numbers": json.dumps(numbers), "config": self.config_json}
                save_file(tensors, scratch.name, metadata=metadata)
                Path(scratch.name).rename(path)
                Path(scratch.name).touch()  # which is what gets deleted
        except OSError as error:
            _log.info("what %s says could not be kept: %s", path.name, os.strerror(error.errno or 0))

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """Return what a file holds; None where there is none that can be read."""
        from safetensors import safe_open

        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in list(file.keys())}
                metadata = file.metadata()
            numbers = json.loads(metadata["numbers"])
            rotation = numbers.pop("rotation")
            frequencies = {kind: (tensors[f"frequencies.{kind}"], by) for kind, by in rotation.items()}
            answer = Answer(tensors["ids"], tensors["columns"], tensors["logits"])
            facts = DecoderFacts(**numbers, frequencies=frequencies)
            return cls(answer, facts, metadata["config"])
        except FileNotFoundError:
            return None
        except Exception as error:  # a file of a cache can be broken in any way; the model is asked again
            _log.warning("%s cannot be read (%s) and is made again", path, one_line(error))
            return None


def text_ids(tokenizer: PreTrainedTokenizerBase, vocab_size: int, device: torch.device) -> Tensor:
    """Return the text as ids [n], most of them different; the first ids where the tokenizer knows few words.

    Attention to equal tokens would not show what it attends to.
    """
    ids = tokenizer(_TEXT, add_special_tokens=False)["input_ids"][:_TOKENS]
    if len(set(ids)) <= _TOKENS // 2:
        ids = range(1, _TOKENS + 1)
    return torch.tensor([*ids, *range(1, _TOKENS + 1)][:_TOKENS], device=device) % vocab_size

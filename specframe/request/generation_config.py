"""What a model's generation config asks for: sampling parameters, logits processors, stop strings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor
from transformers import LogitsProcessorList
from transformers.generation import logits_process as hf

from specframe.contracts.numbers import is_whole
from specframe.contracts.sampling import NEUTRAL, SamplingParams
from specframe.errors import UsageError

_log = logging.getLogger(__name__)


@attrs.frozen(slots=True, kw_only=True, eq=False)
class Situation:
    """What logits processors are told of a request.

    Attributes:
        prompt_ids: [T] int64.
        limit: length limit, tokens.
        ends: ids that end a generation [n] int64.
    """

    prompt_ids: Tensor
    limit: int
    ends: Tensor

    @property
    def begins_at(self) -> int:
        """T, where the output begins."""
        return len(self.prompt_ids)


_Make = Callable[[Any, Situation], Any]


def _begin(ids: Any, at: Situation, forced: bool) -> Any:
    index = at.begins_at + (1 if forced and at.begins_at == 1 else 0)
    return hf.SuppressTokensAtBeginLogitsProcessor(ids, index, device=str(at.prompt_ids.device))


# By entry, in the order of transformers' `generate`, what makes its processor. The repetition penalty comes
# after those of `_FIRST`. `_ENDING` ones do nothing for a model without an id that ends a text.
_FIRST: dict[str, _Make] = {
    "sequence_bias": lambda value, at: hf.SequenceBiasLogitsProcessor(_biases(value)),
    "encoder_repetition_penalty": lambda value, at: hf.EncoderRepetitionPenaltyLogitsProcessor(
        float(value), _prompt(at)
    ),
}
_THEN: dict[str, _Make] = {
    "no_repeat_ngram_size": lambda value, at: hf.NoRepeatNGramLogitsProcessor(value),
    "encoder_no_repeat_ngram_size": lambda value, at: NoRepeatOfPrompt(value, _prompt(at)),
    "bad_words_ids": lambda value, at: hf.NoBadWordsLogitsProcessor(value, _ends(at)),
    "min_length": lambda value, at: hf.MinLengthLogitsProcessor(value, at.ends),
    "min_new_tokens": lambda value, at: hf.MinNewTokensLengthLogitsProcessor(at.begins_at, value, at.ends),
    "forced_bos_token_id": lambda value, at: hf.ForcedBOSTokenLogitsProcessor(value),
    "forced_eos_token_id": lambda value, at: hf.ForcedEOSTokenLogitsProcessor(
        at.begins_at + at.limit, value, device=str(at.prompt_ids.device)
    ),
    "remove_invalid_values": lambda value, at: hf.InfNanRemoveLogitsProcessor(),
    "exponential_decay_length_penalty": lambda value, at: hf.ExponentialDecayLengthPenalty(
        (int(value[0]), float(value[1])), at.ends, at.begins_at
    ),
    "suppress_tokens": lambda value, at: hf.SuppressTokensLogitsProcessor(
        value, device=str(at.prompt_ids.device)
    ),
    "begin_suppress_tokens": lambda value, at: _begin(value, at, forced=False),
}
# Of sampling alone: before top-k, and after min-p.
_HOT: dict[str, _Make] = {"top_h": lambda value, at: hf.TopHLogitsWarper(float(value))}
_LAST: dict[str, _Make] = {
    "typical_p": lambda value, at: hf.TypicalLogitsWarper(float(value)),
    "epsilon_cutoff": lambda value, at: hf.EpsilonLogitsWarper(float(value)),
    "eta_cutoff": lambda value, at: hf.EtaLogitsWarper(float(value), device=str(at.prompt_ids.device)),
}
_END: dict[str, _Make] = {"renormalize_logits": lambda value, at: hf.LogitNormalization()}
_ENDING = ("min_length", "min_new_tokens", "exponential_decay_length_penalty")

# What would be another text, and is not done.
_REFUSED = (
    "guidance_scale",
    "watermarking_config",
    "num_beams",
    "num_beam_groups",
    "penalty_alpha",
    "dola_layers",
    "diversity_penalty",
    "constraints",
    "force_words_ids",
    "token_healing",
)
# What ends a text elsewhere, or asks for several; a request says that here.
_NOT_TAKEN = ("max_time", "num_return_sequences")
_LENGTHS = ("max_new_tokens", "max_length")
# Ids, outputs, caches, and what is beside beams or drafting: nothing of it changes a token of a request.
_HARMLESS = frozenset(
    {
        "assistant_confidence_threshold",
        "assistant_early_exit",
        "assistant_ensemble_weight",
        "assistant_lookbehind",
        "bos_token_id",
        "cache_config",
        "cache_implementation",
        "compile_config",
        "continuous_batching_config",
        "decoder_start_token_id",
        "disable_compile",
        "do_sample",
        "early_stopping",
        "eos_token_id",
        "is_assistant",
        "length_penalty",
        "low_memory",
        "max_cache_len",
        "max_matching_ngram_size",
        "num_assistant_tokens",
        "num_assistant_tokens_schedule",
        "output_attentions",
        "output_hidden_states",
        "output_logits",
        "output_scores",
        "pad_token_id",
        "prefill_chunk_size",
        "prompt_lookup_num_tokens",
        "return_dict_in_generate",
        "speculation_type",
        "stop_strings",
        "target_lookbehind",
        "transformers_version",
        "use_cache",
        "use_mtp",
    }
)

# Values that leave a text as it is, besides None; where an entry is not here, only None does.
_NOTHING: dict[str, tuple[Any, ...]] = {
    **{name: (value,) for name, value in NEUTRAL.items() if name != "temperature"},
    "encoder_repetition_penalty": (1.0,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "remove_invalid_values": (False,),
    "renormalize_logits": (False,),
    "typical_p": (1.0,),
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "guidance_scale": (1.0,),
    "num_beams": (1,),
    "num_beam_groups": (1,),
    "penalty_alpha": (0.0,),
    "diversity_penalty": (0.0,),
    "token_healing": (False,),
    "num_return_sequences": (1,),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "bad_words_ids": ([],),
    "stop_strings": ([],),
}


@attrs.frozen(slots=True)
class ModelDefaults:
    """What a model's generation config asks for; by default nothing.

    Attributes:
        name: of the model, for errors.
        entries: by name, what is to be applied: sampling parameters of ours, those of ``_HOT`` and ``_LAST``,
            and logits processors.
        stop: strings that end the output.
    """

    name: str = ""
    entries: Mapping[str, Any] = attrs.field(factory=dict)
    stop: tuple[str, ...] = ()

    @classmethod
    def of(cls, entries: Mapping[str, Any], name: str, limit: int | None = None) -> ModelDefaults:
        """Return what the entries of a generation config ask for; what is left out is named in a warning.

        Args:
            entries: of the generation config, by name.
            name: of the model.
            limit: length limit of requests that say nothing of it, tokens.

        Raises:
            UsageError: an entry asks for a text that cannot be had here, or has a value that cannot be.
        """
        asked = {key: value for key, value in entries.items() if _asks(key, value)}
        applied = (*_FIRST, "repetition_penalty", *_THEN, *_OF_SAMPLING, *_END)
        for key in _REFUSED:
            if key in asked:
                raise UsageError(
                    f"the generation config of {name} sets {key} = {asked[key]!r}, which is not done here; "
                    "allowed: --generation-config none, which takes nothing of it"
                )
        known = {*applied, *_LENGTHS, *_NOT_TAKEN, *_HARMLESS}
        left_out = [key for key in asked if key not in known or key in _NOT_TAKEN]
        left_out += [key for key in _LENGTHS if key in asked and _shortens(asked[key], limit)]
        if left_out:
            _log.warning("not taken from the generation config of %s: %s", name, ", ".join(sorted(left_out)))
        kept = {key: asked[key] for key in applied if key in asked}
        if entries.get("do_sample"):
            kept.setdefault("temperature", 1.0)
        else:
            kept.pop("temperature", None)
        if "min_new_tokens" in kept:
            kept.pop("min_length", None)
        stop = asked.get("stop_strings", ())
        defaults = cls(name, kept, tuple(stop) if isinstance(stop, list | tuple) else (stop,))
        defaults._try_out()
        return defaults

    def settle(self, asked: SamplingParams) -> SamplingParams:
        """Return sampling parameters with what the model says where they were left out.

        Raises:
            UsageError: the temperature is 0, and a parameter was asked for that has no effect at that.
        """
        own = {name: self.entries[name] for name in NEUTRAL if name in self.entries}
        asks_for = asked.temperature if "temperature" in asked.given else own.get("temperature", 0.0)
        if not asks_for:
            own = {name: value for name, value in own.items() if name == "repetition_penalty"}
        return asked.over(own)

    def applied(self, sampling: SamplingParams) -> dict[str, Any]:
        """Return the entries that a request goes by, by name, given its settled sampling parameters."""
        hot = sampling.temperature > 0
        taken = {
            name: value
            for name, value in self.entries.items()
            if name not in sampling.given and (hot or name not in _OF_SAMPLING)
        }
        return taken | ({"stop_strings": list(self.stop)} if self.stop else {})

    def processors(
        self, situation: Situation, custom: LogitsProcessorList | None = None
    ) -> dict[str, LogitsProcessorList]:
        """Return the logits processors by their place among those of the sampling parameters.

        ``first`` come before the repetition penalty and ``then`` after it; ``hot``, before top-k, and
        ``last``, after min-p, are of sampling alone; ``end`` come after all.

        Args:
            situation: of the request.
            custom: processors of the caller, each of which replaces one of the same type, as in ``generate``.
        """
        replaced = {type(processor) for processor in custom or ()}
        made: dict[str, LogitsProcessorList] = {}
        for place, table in _PLACES.items():
            made[place] = LogitsProcessorList()
            for name, make in table.items():
                if name in self.entries and not (name in _ENDING and not len(situation.ends)):
                    processor = self._make(name, make, situation)
                    if type(processor) not in replaced:
                        made[place].append(processor)
        return made

    def _make(self, name: str, make: _Make, situation: Situation) -> Any:
        value = self.entries[name]
        if name == "begin_suppress_tokens":
            return _begin(value, situation, forced="forced_bos_token_id" in self.entries)
        return make(value, situation)

    def check_ids(self, vocab_size: int) -> None:
        """Raise ``UsageError`` for an entry with a token id that the target has not.

        Args:
            vocab_size: of the target; ids that are only suppressed may be beyond.
        """
        ids: dict[str, Callable[[Any], Sequence[Any]]] = {
            "sequence_bias": lambda value: [id for words, _ in _biases(value) for id in words],
            "bad_words_ids": lambda value: [id for words in value for id in words],
            "forced_bos_token_id": lambda value: [value],
            "forced_eos_token_id": lambda value: value if isinstance(value, list | tuple) else [value],
        }
        for name, found in ids.items():
            if name in self.entries:
                for id in found(self.entries[name]):
                    if not is_whole(id) or not 0 <= id < vocab_size:
                        raise self._cannot_be(
                            name,
                            f"it has the token id {id!r}, and those of this model are 0 to {vocab_size - 1}",
                        )

    def _try_out(self) -> None:
        """Raise ``UsageError`` for an entry with a value that cannot be."""
        ids = torch.ones(1, dtype=torch.int64)
        situation = Situation(prompt_ids=ids, limit=1, ends=ids)
        for table in _PLACES.values():
            for name, make in table.items():
                if name in self.entries:
                    try:
                        self._make(name, make, situation)
                    except Exception as error:  # transformers has no kind of its own for it
                        raise self._cannot_be(name, str(error)) from None
        if not all(isinstance(stop, str) and stop for stop in self.stop):
            raise self._cannot_be("stop_strings", "stop strings are texts")
        own = {name: self.entries[name] for name in NEUTRAL if name in self.entries}
        try:
            SamplingParams(**own)
        except UsageError as error:
            raise UsageError(f"the generation config of {self.name}: {error}") from None

    def _cannot_be(self, name: str, why: str) -> UsageError:
        value = self.entries.get(name, self.stop)
        return UsageError(
            f"the generation config of {self.name} sets {name} = {value!r}: {why}; allowed: "
            "--generation-config none, which takes nothing of it"
        )


_PLACES = {"first": _FIRST, "then": _THEN, "hot": _HOT, "last": _LAST, "end": _END}
_OF_SAMPLING = ("temperature", *_HOT, "top_k", "top_p", "min_p", *_LAST)


class NoRepeatOfPrompt(hf.EncoderNoRepeatNGramLogitsProcessor):
    """Never repeats an n-gram of the prompt; scores may have any number of rows."""

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return the scores [n, V] with -inf for what would complete an n-gram of the prompt."""
        rows = zip(input_ids, scores, strict=True)
        parent = super().__call__
        return torch.cat([parent(ids[None], row[None]) for ids, row in rows])


def _asks(key: str, value: Any) -> bool:
    """Return whether an entry asks for anything."""
    return not (value is None or key.startswith("_") or value in _NOTHING.get(key, ()))


def _shortens(length: Any, limit: int | None) -> bool:
    return limit is not None and not (is_whole(length) and length >= limit)


def _prompt(at: Situation) -> Any:
    return at.prompt_ids[None]


def _ends(at: Situation) -> Any:
    return at.ends if len(at.ends) else None


def _biases(value: Any) -> Any:
    """Return biases as lists of ids and a number; a file has them so, an object of transformers may not."""
    if isinstance(value, Mapping):
        return [[list(ids), float(bias)] for ids, bias in value.items()]
    return value

"""The ``config.json`` of somebody else's head, read so that nothing in it is left out without a word.

Every key is one of four: asked for by whoever builds the head, known to change no forward (``HARMLESS``),
allowed at the values under which it changes none (``NEUTRAL``), or refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from specframe.errors import CheckpointError
from specframe_plugins.drafters.checkpoint_files import CONFIG

# What says where a checkpoint comes from, how it was trained, or how text is decoded with it.
HARMLESS: Final = frozenset(
    {
        "_attn_implementation",
        "_attn_implementation_autoset",
        "_name_or_path",
        "architectures",
        "attention_dropout",
        "attn_implementation",
        "auto_map",
        "bad_words_ids",
        "begin_suppress_tokens",
        "bos_token_id",
        "chunk_size_feed_forward",
        "cls_token_id",
        "decoder_start_token_id",
        "diversity_penalty",
        "do_sample",
        "dtype",
        "early_stopping",
        "embd_pdrop",
        "embed_requires_grad",
        "enable_sp_ulysses",
        "encoder_no_repeat_ngram_size",
        "eos_token_id",
        "exponential_decay_length_penalty",
        "finetuning_task",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "has_no_defaults_at_init",
        "hidden_dropout",
        "id2label",
        "initializer_range",
        "label2id",
        "length_penalty",
        "mask_token_id",
        "max_length",
        "min_length",
        "modal_type",
        "model_max_length",
        "no_repeat_ngram_size",
        "num_beam_groups",
        "num_beams",
        "num_return_sequences",
        "output_attentions",
        "output_hidden_states",
        "output_scores",
        "pad_token_id",
        "prefix",
        "pretraining_tp",
        "problem_type",
        "remove_invalid_values",
        "repetition_penalty",
        "resid_pdrop",
        "return_dict",
        "return_dict_in_generate",
        "sep_token_id",
        "speculators_config",
        "speculators_version",
        "suppress_tokens",
        "target_model_type",
        "task_specific_params",
        "temperature",
        "tf_legacy_loss",
        "tokenizer_class",
        "top_k",
        "top_p",
        "torch_dtype",
        "torchscript",
        "transformers_version",
        "typical_p",
        "unk_token_id",
        "use_bfloat16",
        "use_cache",
    }
)

# Under these values a key says what is computed here anyway. Every key may also be null.
NEUTRAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "add_cross_attention": (False,),
    "is_decoder": (False, True),
    "is_encoder_decoder": (False,),
    "logit_scale": (1.0,),
    "mlp_bias": (False,),
    "model_type": ("llama", "eagle", "eagle3", "speculators", "speculator_model"),
    "next_layer_regular": (True,),
    "num_hidden_layers": (1,),
    "parallel_draft_heads_num_layers": (0, 1),
    "parallel_draft_step": (0, 1),
    "pruned_heads": ({},),
    "rope_interleave": (False,),
    "speculators_model_type": ("eagle", "eagle3"),
    "tie_encoder_decoder": (False,),
    "use_input_layernorm_in_first_layer": (True,),
    "use_last_layernorm": (True,),
    "use_mtp_layernorm": (False,),
    "use_qk_norm": (False,),
}

_ENDLESS: Final = 2**31  # no size of a head
_MISSING: Final = object()


class PublicConfig:
    """Keys of a ``config.json``, those of its nested sections among them.

    Args:
        settings: content of the file.
        path: directory of the checkpoint, for errors.
        sections: keys whose values hold further keys. A key of two sections must have one value.

    Raises:
        CheckpointError: a section is no object, or a key has two values.
    """

    def __init__(self, settings: Mapping[str, Any], path: Path, sections: tuple[str, ...] = ()) -> None:
        self.path = path
        self._values = {name: value for name, value in settings.items() if name not in sections}
        self._asked: set[str] = set()
        for section in sections:
            inner = settings.get(section)
            if inner is None:
                continue
            if not isinstance(inner, dict):
                raise self.refusal(section, inner, "an object")
            for name, value in inner.items():
                before = self._values.get(name)
                # A layer's config is often a copy of its target's, which ties its own LM head or not.
                free = name in HARMLESS or name in ("model_type", "tie_word_embeddings")
                if before is not None and before != value and not free:
                    raise CheckpointError(
                        f"{path / CONFIG} has {name} {before!r}, and {value!r} in {section}; allowed: one of "
                        "them"
                    )
                if value is not None or name not in self._values:
                    self._values[name] = value

    def __contains__(self, name: str) -> bool:
        """Return whether a key is there and not null."""
        return self._values.get(name) is not None

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a key as it is; ``default`` where it is missing or null."""
        self._asked.add(name)
        value = self._values.get(name)
        return default if value is None else value

    def integer(self, name: str, default: Any = _MISSING) -> Any:
        """Return a positive integer.

        Raises:
            CheckpointError: it is something else, or missing without a default.
        """
        value = self.get(name, default)
        if value is _MISSING:
            raise CheckpointError(f"{self.path / CONFIG} lacks {name!r}")
        if name in self and not (type(value) is int and 0 < value < _ENDLESS):
            raise self.refusal(name, value, "a positive integer")
        return value

    def number(self, name: str, default: float) -> float:
        """Return a positive number; raises as ``integer`` does."""
        value = self.get(name, default)
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            raise self.refusal(name, value, "a positive number")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false; raises as ``integer`` does, also for a text that says so."""
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise self.refusal(name, value, "true or false")
        return value

    def text(self, name: str, default: str) -> str:
        """Return a text; raises as ``integer`` does."""
        value = self.get(name, default)
        if not isinstance(value, str):
            raise self.refusal(name, value, "a text")
        return value

    def refuse_the_rest(self) -> None:
        """Raise CheckpointError for a key that nobody asked for and that may change the forward."""
        for name, value in self._values.items():
            if name in self._asked or name in HARMLESS or value is None:
                continue
            if name not in NEUTRAL:
                raise CheckpointError(
                    f"{self.path / CONFIG} has {name!r}, which is not known here and may change what the "
                    "head computes; allowed: known keys"
                )
            # `1 == True`, and a flag is no number.
            if not any(type(value) is type(ok) and value == ok for ok in NEUTRAL[name]):
                raise self.refusal(name, value, ", ".join(map(repr, NEUTRAL[name])))

    def refusal(self, name: str, value: Any, allowed: str) -> CheckpointError:
        """Return the error for the value of a key."""
        return CheckpointError(f"{self.path / CONFIG} has {name} {value!r}; allowed: {allowed}")


def rope_fields(config: PublicConfig) -> dict[str, Any]:
    """Return the fields of ``EagleConfig`` about rotary positions.

    Raises:
        CheckpointError: rotations of a kind that is not computed here, or that contradict each other.
    """
    found: dict[str, Any] = {}
    for name in ("rope_parameters", "rope_scaling"):
        part = config.get(name)
        if part is None:
            continue
        if not isinstance(part, dict):
            raise config.refusal(name, part, "an object")
        part = {("rope_type" if key == "type" else key): value for key, value in part.items()}
        part.setdefault("rope_type", "default")
        for key, value in part.items():
            # A default beside something else says nothing.
            if key == "rope_type" and value == "default" and key in found:
                continue
            if found.get(key) not in (None, value) and not (key == "rope_type" and found[key] == "default"):
                raise CheckpointError(
                    f"{config.path / CONFIG} has {key} {found[key]!r}, and {value!r} in {name}; allowed: one"
                )
            found[key] = value
    theta = _one_number(config, found, "rope_theta", 10_000.0)
    factor = _one_number(config, found, "partial_rotary_factor", 1.0)
    if factor > 1:
        raise config.refusal("partial_rotary_factor", factor, "more than 0, at most 1")
    kind = found.pop("rope_type", "default")
    known = _SCALED.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise CheckpointError(
            f"{config.path / CONFIG} asks for rotary embeddings {kind!r}; allowed: {', '.join(_SCALED)}"
        )
    needed, optional = known
    for key, value in found.items():
        if value is not None and (key not in (*needed, *optional) or not _is_number(value)):
            raise CheckpointError(
                f"{config.path / CONFIG} has {key} {value!r} for rotary embeddings {kind!r}; allowed: "
                f"numbers for {', '.join((*needed, *optional)) or 'nothing'}"
            )
    missing = [key for key in needed if found.get(key) is None]
    if missing:
        raise CheckpointError(f"{config.path / CONFIG} lacks {missing[0]!r} for rotary embeddings {kind!r}")
    scaling = {key: value for key, value in found.items() if value is not None}
    return {
        "rope_theta": theta,
        "partial_rotary_factor": factor,
        "rope_scaling": None if kind == "default" else {"rope_type": kind, **scaling},
    }


# Kinds of rotations that do not depend on the length of a text: parameters they need, and may have.
_SCALED: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "default": ((), ()),
    "linear": (("factor",), ("original_max_position_embeddings",)),
    "llama3": (("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"), ()),
    "yarn": (
        ("factor",),
        (
            "original_max_position_embeddings",
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "mscale",
            "mscale_all_dim",
            "truncate",
        ),
    ),
}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _one_number(config: PublicConfig, found: dict[str, Any], name: str, default: float) -> float:
    """Return a number that stands among the rotations, at the top, or in both places alike."""
    inner = found.pop(name, None)
    if inner is not None and (type(inner) not in (int, float) or not inner > 0):
        raise config.refusal(name, inner, "a positive number")
    outer = config.number(name, default) if name in config else None
    if inner is not None and outer is not None and inner != outer:
        raise CheckpointError(
            f"{config.path / CONFIG} has {name} {outer!r}, and {inner!r} among the rotations; allowed: one"
        )
    config.get(name)
    return float(next((value for value in (inner, outer) if value is not None), default))


def window_of(config: PublicConfig) -> int | None:
    """Return how many positions the layer sees, its own included; None for all.

    Raises:
        CheckpointError: the keys do not say it, or name another kind of layer.
    """
    kinds = config.get("layer_types")
    size = config.get("sliding_window")
    used = config.flag("use_sliding_window", True)
    config.get("max_window_layers")  # of one layer it says no more than the kind does
    if kinds is None:
        if size is None or not used:
            return None
        raise CheckpointError(
            f"{config.path / CONFIG} has sliding_window {size!r} and no layer_types; allowed: layer_types "
            "['sliding_attention'] or ['full_attention']"
        )
    if kinds == ["full_attention"]:
        return None
    if kinds != ["sliding_attention"]:
        raise config.refusal("layer_types", kinds, "['full_attention'] or ['sliding_attention']")
    if not used:
        raise CheckpointError(
            f"{config.path / CONFIG} has use_sliding_window false, and layer_types {kinds!r}; allowed: one"
        )
    return int(config.integer("sliding_window"))

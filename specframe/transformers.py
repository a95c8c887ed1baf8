"""Decoding inside transformers: ``model.generate(..., custom_generate=generate, specframe=RunConfig(...))``.

transformers prepares prompt, logits processors and stopping criteria as ever, and hands them over to
``generate`` here instead of its own loop.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import torch
from torch import Tensor
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer
from transformers.generation.utils import GenerateDecoderOnlyOutput

from specframe.config import RunConfig
from specframe.contracts.sampling import NEUTRAL, SamplingParams
from specframe.engine.assembly import build_engine
from specframe.engine.engine import Engine
from specframe.errors import UsageError
from specframe.model.borrowed import evaluating, state_of
from specframe.model.loading import LoadedModel
from specframe.model.target import Target
from specframe.registry.placement import DTYPES
from specframe.request.batches import rows_of
from specframe.request.generated_rows import STATEFUL, Row, assembled
from specframe.request.request import Request

# Of each model the engine built last: its KV cache and its drafter are worth keeping, one at a time.
_engines: WeakKeyDictionary[PreTrainedModel, tuple[RunConfig, Engine]] = WeakKeyDictionary()
# Of each engine, what its model was like when it was built.
_built_for: WeakKeyDictionary[Engine, Hashable] = WeakKeyDictionary()

# Inputs of a model that are looked at here, and what says that a token is text.
_READ = ("attention_mask", "position_ids", "inputs_embeds", "cache_position")
_TOKEN_TYPES = ("token_type_ids", "mm_token_type_ids")


def engine_for(
    model: PreTrainedModel, config: RunConfig, tokenizer: PreTrainedTokenizerBase | None = None
) -> Engine:
    """Return an engine for a model that is already loaded; the same one for the same model and config.

    The engine may copy weights. Where they, the modules, hooks or adapters have changed since it was built,
    another one is built. The model stays in the mode it is in, and its parameters as they are.

    Args:
        model: a decoder-only model, as it is or as PEFT or ``torch.compile`` wrap it; ``config.model``,
            ``dtype`` and ``device`` are taken from it.
        config: which components to run, and their options.
        tokenizer: of the model; by default the one of its engine before, else loaded from where the model
            was loaded from.

    Raises:
        UsageError: the tokenizer cannot be found, or a component, an option or the model is not allowed.
    """
    model = _whose_generate_runs(model)
    dtypes = {dtype: name for name, dtype in DTYPES.items()}
    if model.dtype not in dtypes:
        raise UsageError(f"the model's weights are {model.dtype}; allowed: {', '.join(DTYPES)}")
    name = model.name_or_path or type(model).__name__
    config = attrs.evolve(config, model=name, dtype=dtypes[model.dtype], device=str(model.device))
    state = state_of(model)
    known, engine = _engines.get(model, (None, None))
    same = engine is not None and known == config and _built_for[engine] == state
    if engine is None or not same or tokenizer not in (None, engine.target.tokenizer):
        # Weights that a training changes keep the tokenizer that somebody gave.
        tokenizer = tokenizer or (engine.target.tokenizer if engine else _find_tokenizer(model))
        engine = None
        _engines.pop(model, None)  # its memory is free before another one takes as much
        with evaluating(model.modules()):
            target = Target(LoadedModel(model, tokenizer, name))
            engine = build_engine(config, target=target)
        # Its first pass may leave hooks of transformers' own, such as those that keep hidden states.
        _engines[model], _built_for[engine] = (config, engine), state_of(model)
    return engine


def generate(
    model: PreTrainedModel,
    input_ids: Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    specframe: RunConfig | Engine | None = None,
    streamer: BaseStreamer | None = None,
    **model_kwargs: Any,
) -> Tensor | GenerateDecoderOnlyOutput:
    """Generate for ``model.generate``; never called by hand.

    What ends the output and how logits are processed is up to the arguments of ``model.generate``: its
    lengths, stopping criteria, ``do_sample``, temperature and so on. The config says how tokens are drafted.
    Samples follow ``torch.manual_seed``, but are not the samples that transformers would draw.

    A batch is answered row by row, each as if it were alone: its padding is no part of it.

    Args:
        model: whose ``generate`` was called.
        input_ids: the prompts [B, T], padded on the left.
        logits_processor: as transformers prepared them.
        stopping_criteria: as transformers prepared them, length and end-of-sequence included; asked after
            every token of a row, with no scores.
        generation_config: as transformers prepared it.
        specframe: which components to run, by default those of ``RunConfig()``; or an engine of this model,
            whose ``report`` then tells how the last row went: one of ``engine_for``, with a temperature of 1
            in its config to sample and of 0 to decode greedily.
        streamer: is given every new token, of one row.
        **model_kwargs: other inputs of the model; none that would change the output.

    Returns:
        Prompts and new tokens [B, T + n], padded on the right, or an output object with these as its
        ``sequences`` where ``return_dict_in_generate`` asks for one; with ``scores`` and ``logits`` where
        they are asked for too, zero in a row that has ended.

    Raises:
        UsageError: something was asked for that this loop does not do.
    """
    _refuse_what_is_not_done(generation_config, logits_processor, model_kwargs)
    # PEFT prepares what its adapters add in a method that it puts on the model.
    _refuse_virtual_tokens(getattr(model.__dict__.get("prepare_inputs_for_generation"), "__self__", None))
    _refuse_other_inputs(model, input_ids, model_kwargs)
    # transformers hands a loop that is a function only arguments that its own loop has not, and `streamer` is
    # one of those; no argument, config or criterion leads to it, so that it is taken from where it is.
    streamer = streamer or sys._getframe(1).f_locals.get("streamer")
    if streamer is not None and len(input_ids) > 1:
        raise UsageError(f"a streamer is given with {len(input_ids)} rows; allowed: one row")
    prompts = rows_of(input_ids, model_kwargs.get("attention_mask"), right=False)
    engine = _engine(model, specframe, generation_config)
    rows = []
    with evaluating(model.modules()):
        for at, prompt_ids in enumerate(prompts):
            row = Row(at, prompt_ids, input_ids[at], generation_config)
            sampling = SamplingParams(temperature=0.0)
            if generation_config.do_sample:
                sampling = SamplingParams(temperature=1.0, seed=int(torch.randint(2**62, ())))
            request = Request(
                prompt_ids,
                max_new_tokens=_limit(stopping_criteria, input_ids.shape[1], engine, len(prompt_ids)),
                logits_processor=row.processors(logits_processor),
                until=row.asks(stopping_criteria),
                ignore_eos=True,  # the stopping criteria know which ids end this output
                sampling=sampling,
                generation_config="none",  # `generate` has taken from it what counts
                watch=row.watch,
            )
            for chunk in engine.stream(request):
                row.new_ids += chunk.token_ids
                if streamer is not None:
                    for token_id in chunk.token_ids:
                        streamer.put(torch.tensor([token_id]))
            rows.append(row)
    if streamer is not None:
        streamer.end()
    return assembled(input_ids, rows, generation_config)


def _whose_generate_runs(model: Any) -> PreTrainedModel:
    """Return the model whose loop runs where ``generate`` of this one is called.

    Raises:
        UsageError: it is something else than a model of transformers, or what wraps it adds to its inputs.
    """
    model = getattr(model, "_orig_mod", model)  # what torch.compile returns
    if hasattr(model, "get_base_model"):  # of PEFT
        _refuse_virtual_tokens(model)
        model = model.get_base_model()
    if not isinstance(model, PreTrainedModel):
        raise UsageError(
            f"the model is a {type(model).__name__}; allowed: a model of transformers, or of PEFT around one"
        )
    return model


def _refuse_virtual_tokens(adapted: Any) -> None:
    """Raise ``UsageError`` for a model of PEFT that puts virtual tokens before a prompt."""
    if getattr(getattr(adapted, "active_peft_config", None), "is_prompt_learning", False):
        raise UsageError(
            "the adapter puts virtual tokens before a prompt (prompt tuning, prefix tuning, P-tuning); "
            "allowed: adapters of the model's own layers, such as LoRA"
        )


def _engine(
    model: PreTrainedModel, specframe: RunConfig | Engine | None, generation_config: GenerationConfig
) -> Engine:
    """Return an engine of the model that samples if, and only if, ``model.generate`` was told to."""
    config = specframe.config if isinstance(specframe, Engine) else specframe or RunConfig()
    temperature = 1.0 if generation_config.do_sample else 0.0
    # An engine that is given has made its choice; a config has not, and greedy is what it says by default.
    allowed = temperature if isinstance(specframe, Engine) else 0.0
    found = config.sampling.temperature
    # What the model's generation config says of it, `generate` knows as well.
    told = "temperature" in config.sampling.given
    if found != allowed if told else bool(found) != bool(allowed):
        raise UsageError(
            f"the config's temperature is {found:g}; allowed here: {allowed:g}, since "
            "do_sample and temperature are arguments of generate()"
        )
    for name, neutral in NEUTRAL.items():
        given = name in config.sampling.given and name != "temperature"
        if given and getattr(config.sampling, name) != neutral:
            raise UsageError(f"the config sets {name}; allowed: that as an argument of generate()")
    if config.warm == "conversation":
        raise UsageError(
            "the config's warm is conversation; allowed here: off or shared, since generate() does not say "
            "which calls are turns of one conversation"
        )
    if not isinstance(specframe, Engine):
        sampling = config.sampling.changed(temperature=temperature)
        return engine_for(model, attrs.evolve(config, sampling=sampling, generation_config="none"))
    if specframe.target.model is not model:
        raise UsageError("the engine is of another model; allowed: one of engine_for(model, ...)")
    if _built_for.get(specframe) != state_of(model):
        raise UsageError("the model has changed since the engine was built; allowed: a new engine_for(model)")
    return specframe


def _refuse_what_is_not_done(
    generation_config: GenerationConfig, processors: LogitsProcessorList, model_kwargs: dict[str, Any]
) -> None:
    # Since transformers 5.24 it is called `cache`.
    cache = model_kwargs.get("cache", model_kwargs.get("past_key_values"))
    mask = model_kwargs.get("attention_mask")
    refused = {
        "num_beams above 1": (generation_config.num_beams or 1) != 1,
        "penalty_alpha or dola_layers": any(
            getattr(generation_config, name, None) for name in ("penalty_alpha", "dola_layers")
        ),
        "a mask of other than two dimensions": mask is not None and mask.dim() != 2,
        "inputs_embeds": model_kwargs.get("inputs_embeds") is not None,
        "past_key_values that hold something": cache is not None and cache.get_seq_length() > 0,
        "attentions or hidden states": any(
            getattr(generation_config, f"output_{name}", False) for name in ("attentions", "hidden_states")
        ),
        # They count how often they are called, and a tree has several next tokens.
        "guidance_scale, or a watermark that keeps a state": any(
            isinstance(processor, STATEFUL) for processor in processors
        ),
    }
    for what, asked in refused.items():
        if asked:
            raise UsageError(f"specframe does not do {what}; allowed: prompts of ids, one sequence each")


def _refuse_other_inputs(model: PreTrainedModel, input_ids: Tensor, model_kwargs: dict[str, Any]) -> None:
    """Raise ``UsageError`` for inputs besides ids and mask [B, T] that would change the model's output."""
    mask = model_kwargs.get("attention_mask")
    real = torch.ones_like(input_ids) if mask is None else (mask != 0).long()
    positions = model_kwargs.get("position_ids")
    if positions is not None and not _count_tokens(positions, real):
        raise UsageError("position_ids count otherwise than from 0; allowed: those of the prompts' tokens")
    several_inputs = model.config.get_text_config() is not model.config
    for name, value in model_kwargs.items():
        of_images = name == "mm_encoder_outputs" and any(part is not None for part in (value or {}).values())
        if name in _READ or not (of_images or isinstance(value, Tensor)):
            continue
        # Of a model that also reads images, 0 is text; others embed what they are given.
        if of_images or not (name in _TOKEN_TYPES and several_inputs and not value.any()):
            raise UsageError(f"specframe does not give a model {name}; allowed: input_ids and attention_mask")


def _count_tokens(positions: Tensor, real: Tensor) -> bool:
    """Return whether positions [..., B, T] are those of the tokens [B, T] that are no padding."""
    if positions.shape[-1] != real.shape[-1]:
        return False
    return not bool(((positions != real.cumsum(-1) - 1) & (real != 0)).any())


def _limit(criteria: StoppingCriteriaList, width: int, engine: Engine, prompt: int) -> int:
    """Return how many tokens may be generated for a row of a batch [B, ``width``]."""
    positions = engine.target.max_positions
    return positions - prompt if criteria.max_length is None else criteria.max_length - width


def _find_tokenizer(model: PreTrainedModel) -> PreTrainedTokenizerBase:
    """Return the tokenizer from where the model was loaded."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model.name_or_path)
    except Exception as error:  # there are many reasons not to find one
        raise UsageError(
            f"no tokenizer was found for {model.name_or_path or type(model).__name__!r}; allowed: "
            "specframe=engine_for(model, config, tokenizer)"
        ) from error
    return tokenizer

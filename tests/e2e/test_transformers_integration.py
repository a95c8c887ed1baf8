"""``model.generate(custom_generate=...)`` gives what ``model.generate`` gives, with all its arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_model, tiny_tokenizer
from torch.nn.modules.module import register_module_forward_hook
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LogitsProcessor,
    LogitsProcessorList,
    MaxTimeCriteria,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
    TextStreamer,
)
from transformers.generation.streamers import BaseStreamer

from specframe.config import RunConfig
from specframe.contracts.sampling import SamplingParams
from specframe.errors import UsageError
from specframe.transformers import _refuse_what_is_not_done, engine_for, generate
from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead

PROMPT = torch.tensor([[5, 17, 42, 8, 33, 12, 70, 64]])


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("transformers")
    tiny_model(max_position_embeddings=128).save_pretrained(directory)
    tiny_tokenizer().save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def model(directory: Path) -> PreTrainedModel:
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory)
    loaded.generation_config.max_new_tokens = 24
    return loaded


@pytest.fixture(scope="module")
def config(model: PreTrainedModel, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    head = tmp_path_factory.mktemp("heads") / "head"
    torch.manual_seed(0)
    save_head(EagleHead(EagleConfig.for_target(model.config)), head)
    return RunConfig(options={"drafter": {"checkpoint": str(head)}, "vocabulary": {"capacity": 60}})


class Every(LogitsProcessor):
    """Forbids the token before last, which nobody can do without the right ids."""

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        return scores.scatter(1, input_ids[:, -2:-1], -torch.inf)


class AfterSeven(StoppingCriteria):
    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        return torch.tensor([input_ids.shape[1] >= PROMPT.shape[1] + 7])


class Kept(BaseStreamer):  # type: ignore[misc]  # transformers is untyped
    def __init__(self) -> None:
        self.ids: list[int] = []
        self.ended = False

    def put(self, value: torch.Tensor) -> None:
        self.ids += value.flatten().tolist()

    def end(self) -> None:
        self.ended = True


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"max_new_tokens": 1},
        {"max_length": 19},
        {"eos_token_id": 9},
        {"eos_token_id": [82, 51]},
        {"min_new_tokens": 20, "eos_token_id": 9},
        {"repetition_penalty": 1.4},
        {"no_repeat_ngram_size": 2},
        {"bad_words_ids": [[9], [70, 4]]},
        {"logits_processor": LogitsProcessorList([Every()])},
        {"stopping_criteria": StoppingCriteriaList([AfterSeven()])},
        {"stopping_criteria": StoppingCriteriaList([MaxTimeCriteria(0.0)])},
        {"do_sample": True, "top_k": 1},
    ],
    ids=lambda arguments: "+".join(arguments),
)
def test_the_output_is_that_of_generate(
    arguments: dict[str, Any], model: PreTrainedModel, config: RunConfig
) -> None:
    expected = model.generate(PROMPT, **{"do_sample": False, **arguments})
    found = model.generate(
        PROMPT, custom_generate=generate, specframe=config, **{"do_sample": False, **arguments}
    )
    assert found.tolist() == expected.tolist()
    assert found.dtype == expected.dtype


def test_a_streamer_is_given_prompt_and_tokens(model: PreTrainedModel, config: RunConfig) -> None:
    streamer = Kept()
    output = model.generate(
        PROMPT, do_sample=False, custom_generate=generate, specframe=config, streamer=streamer
    )
    assert (streamer.ids, streamer.ended) == (output[0].tolist(), True)


def test_a_text_streamer_prints_the_text(
    model: PreTrainedModel, config: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = tiny_tokenizer()
    streamer = TextStreamer(tokenizer, skip_prompt=True)
    output = model.generate(
        PROMPT, do_sample=False, custom_generate=generate, specframe=config, streamer=streamer
    )
    assert capsys.readouterr().out.strip() == tokenizer.decode(output[0, PROMPT.shape[1] :])


def test_an_output_object_has_the_same_sequences(model: PreTrainedModel, config: RunConfig) -> None:
    arguments = {"do_sample": False, "return_dict_in_generate": True}
    expected = model.generate(PROMPT, **arguments)
    found = model.generate(PROMPT, custom_generate=generate, specframe=config, **arguments)
    assert found.sequences.tolist() == expected.sequences.tolist()


def test_samples_follow_the_seed_of_torch(model: PreTrainedModel, config: RunConfig) -> None:
    def sample(seed: int) -> list[int]:
        torch.manual_seed(seed)
        ids: list[list[int]] = model.generate(
            PROMPT, do_sample=True, temperature=1.5, custom_generate=generate, specframe=config
        ).tolist()
        return ids[0]

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)


def test_an_engine_tells_how_it_went(model: PreTrainedModel, config: RunConfig) -> None:
    engine = engine_for(model, config)
    output = model.generate(PROMPT, do_sample=False, custom_generate=generate, specframe=engine)
    assert engine.report is not None
    assert engine.report.token_ids == output[0, PROMPT.shape[1] :].tolist()
    assert engine.report.drafter == "eagle"


def test_one_engine_serves_every_call_with_its_config(model: PreTrainedModel, config: RunConfig) -> None:
    assert engine_for(model, config) is engine_for(model, config)
    assert engine_for(model, config) is not engine_for(model, RunConfig(strategy="autoregressive"))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"num_beams": 2}, "does not do "),
        ({"guidance_scale": 1.5}, "does not do guidance_scale"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "does not do penalty_alpha"),
        ({"position_ids": torch.arange(8)[None] + 3}, "position_ids count otherwise than from 0"),
        ({"attention_mask": torch.tensor([[1, 1, 1, 1, 1, 1, 1, 0]])}, "prompt 0 .* padded on the right"),
        ({"attention_mask": torch.tensor([[1, 1, 0, 1, 1, 1, 1, 1]])}, "prompt 0 .* padding inside"),
        ({"return_dict_in_generate": True, "output_hidden_states": True}, "does not do attentions or hidden"),
        (
            {"inputs": torch.cat([PROMPT, PROMPT]), "streamer": Kept()},
            "a streamer is given with 2 rows; allowed: one row",
        ),
        ({"max_new_tokens": 200}, "8 prompt tokens and 200 new ones exceed the 128 positions"),
        (
            {"specframe": RunConfig(sampling=SamplingParams(temperature=0.7))},
            "temperature is 0.7; allowed here: 0",
        ),
        (
            {"specframe": RunConfig(sampling=SamplingParams(repetition_penalty=1.2))},
            "sets repetition_penalty; allowed: ",
        ),
    ],
)
def test_what_is_not_done_is_one_line(
    arguments: dict[str, Any], complaint: str, model: PreTrainedModel, config: RunConfig
) -> None:
    asked = {"inputs": PROMPT, "do_sample": False, "specframe": config, **arguments}
    with pytest.raises(UsageError, match=complaint):
        model.generate(custom_generate=generate, **asked)


def test_an_engine_that_decodes_greedily_refuses_to_sample(model: PreTrainedModel, config: RunConfig) -> None:
    with pytest.raises(UsageError, match="temperature is 0; allowed here: 1"):
        model.generate(PROMPT, do_sample=True, custom_generate=generate, specframe=engine_for(model, config))


def test_an_engine_of_another_model_is_refused(model: PreTrainedModel, config: RunConfig) -> None:
    other = tiny_model(seed=1)
    engine = engine_for(other, RunConfig(strategy="autoregressive"), tiny_tokenizer())
    with pytest.raises(UsageError, match="of another model"):
        model.generate(PROMPT, do_sample=False, custom_generate=generate, specframe=engine)


def test_a_model_without_a_tokenizer_names_the_way_to_give_one() -> None:
    model = tiny_model()
    with pytest.raises(UsageError, match=r"no tokenizer was found for 'LlamaForCausalLM'.*engine_for"):
        model.generate(PROMPT, do_sample=False, max_new_tokens=2, custom_generate=generate)


def test_positions_of_a_padded_batch_that_are_those_of_its_tokens_are_no_other_input(
    model: PreTrainedModel, config: RunConfig
) -> None:
    ids = torch.cat([torch.zeros(1, 2, dtype=torch.int64), PROMPT], dim=1)
    given = {"attention_mask": (ids != 0).long(), "position_ids": torch.tensor([[1, 1, *range(8)]])}
    expected = model.generate(ids, do_sample=False, **given)
    output = model.generate(ids, do_sample=False, custom_generate=generate, specframe=config, **given)
    assert output.tolist() == expected.tolist()


def test_token_types_that_a_model_would_embed_are_refused() -> None:
    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64, "vocab_size": 101}
    model = GPT2LMHeadModel(GPT2Config(**sizes, eos_token_id=1, bos_token_id=1, pad_token_id=0)).eval()
    types = torch.zeros_like(PROMPT)
    with pytest.raises(UsageError, match=r"does not give a model token_type_ids; allowed: input_ids and att"):
        model.generate(PROMPT, token_type_ids=types, max_new_tokens=4, custom_generate=generate)


def greedy(model: PreTrainedModel, **arguments: Any) -> list[int]:
    ids: list[list[int]] = model.generate(PROMPT, do_sample=False, max_new_tokens=24, **arguments).tolist()
    return ids[0]


def of_a_head(directory: Path, config: RunConfig) -> PreTrainedModel:
    """Return a model of its own for a test that changes it."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory)
    assert greedy(model, custom_generate=generate, specframe=config) == greedy(model)
    return model


def _load_another(model: PreTrainedModel) -> None:
    other = tiny_model(seed=5, max_position_embeddings=128)
    model.load_state_dict(other.state_dict())


def _edit_in_place(model: PreTrainedModel) -> None:
    with torch.no_grad():
        model.get_decoder().layers[0].mlp.down_proj.weight[7:9] += 3.0


def _edit_the_data(model: PreTrainedModel) -> None:
    for parameter in model.parameters():
        parameter.data.mul_(1.5)


def _edit_a_number_of_the_data(model: PreTrainedModel) -> None:
    model.get_output_embeddings().weight.data[40, 33] = 50.0


def _swap_rows_of_the_data(model: PreTrainedModel) -> None:
    rows, (first, *_) = model.get_output_embeddings().weight.data, greedy(model)[PROMPT.shape[1] :]
    rows[[first, 51]] = rows[[51, first]].clone()


def _edit_a_plain_attribute(model: PreTrainedModel) -> None:
    model.get_decoder().rotary_emb.attention_scaling = 2.0


def _hook(model: PreTrainedModel) -> None:
    mlp = model.get_decoder().layers[1].mlp
    mlp.register_forward_hook(lambda module, inputs, output: output * -2.0)


def _replace_a_module(model: PreTrainedModel) -> None:
    attention = model.get_decoder().layers[0].self_attn
    linear = torch.nn.Linear(attention.o_proj.in_features, attention.o_proj.out_features, bias=False)
    torch.manual_seed(2)
    torch.nn.init.normal_(linear.weight)
    attention.o_proj = linear


def _replace_a_forward(model: PreTrainedModel) -> None:
    mlp = model.get_decoder().layers[0].mlp
    original = mlp.forward
    mlp.forward = lambda x: original(x) + 1.0


@pytest.mark.parametrize(
    "change",
    [
        _load_another,
        _edit_in_place,
        _edit_the_data,
        _edit_a_number_of_the_data,
        _swap_rows_of_the_data,
        _edit_a_plain_attribute,
        _hook,
        _replace_a_module,
        _replace_a_forward,
    ],
)
def test_a_model_that_changes_is_decoded_as_it_is_now(
    change: Any, directory: Path, config: RunConfig
) -> None:
    model = of_a_head(directory, config)
    before = greedy(model)
    change(model)
    assert greedy(model) != before
    assert greedy(model, custom_generate=generate, specframe=config) == greedy(model)


def test_another_forward_of_a_module_s_class_counts(
    directory: Path, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = of_a_head(directory, config)
    before = greedy(model)
    norm = type(model.get_decoder().norm)
    original = norm.forward
    monkeypatch.setattr(norm, "forward", lambda self, hidden: original(self, hidden).roll(1, dims=-1))
    assert greedy(model) != before
    assert greedy(model, custom_generate=generate, specframe=config) == greedy(model)


def test_a_hook_on_all_modules_counts(directory: Path, config: RunConfig) -> None:
    model = of_a_head(directory, config)
    before = greedy(model)
    linear = model.get_decoder().layers[0].mlp.down_proj
    hook = register_module_forward_hook(
        lambda module, inputs, output: output * -2.0 if module is linear else None
    )
    try:
        assert greedy(model) != before
        assert greedy(model, custom_generate=generate, specframe=config) == greedy(model)
    finally:
        hook.remove()


def test_a_window_of_the_config_counts() -> None:
    model, config = tiny_model("gemma3", max_position_embeddings=128), RunConfig(drafter="lookup")
    tokenizer = tiny_tokenizer(model.config.vocab_size)
    before = greedy(model)
    first = engine_for(model, config, tokenizer)
    assert greedy(model, custom_generate=generate, specframe=first) == before
    model.config.sliding_window = 3
    assert greedy(model) != before
    engine = engine_for(model, config, tokenizer)
    assert greedy(model, custom_generate=generate, specframe=engine) == greedy(model)


def test_rotations_that_are_computed_for_every_text_are_no_change() -> None:
    config = RunConfig(drafter="lookup")
    rotations = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 8,
        "long_factor": [2.0] * 8,
        "original_max_position_embeddings": 64,
        "factor": 2.0,
    }
    model = tiny_model(max_position_embeddings=128, rope_parameters=rotations)
    engine = engine_for(model, config, tiny_tokenizer(model.config.vocab_size))
    model(PROMPT.repeat(1, 70 // PROMPT.shape[1] + 1))  # with the factors of long texts
    assert greedy(model, custom_generate=generate, specframe=engine) == greedy(model)


def test_an_engine_of_a_model_that_has_changed_is_refused(directory: Path, config: RunConfig) -> None:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory)
    engine = engine_for(model, config)
    engine_for(model, RunConfig(strategy="autoregressive"))
    _edit_in_place(model)
    with pytest.raises(UsageError, match="has changed since the engine was built; allowed: a new"):
        greedy(model, custom_generate=generate, specframe=engine)
    assert greedy(model, custom_generate=generate, specframe=engine_for(model, config)) == greedy(model)


def test_a_model_in_training_goes_on_training(directory: Path, config: RunConfig) -> None:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory)
    model.train()
    model.get_decoder().layers[0].eval()
    modes = [module.training for module in model.modules()]
    greedy(model, custom_generate=generate, specframe=config)
    assert [module.training for module in model.modules()] == modes
    model(input_ids=PROMPT, labels=PROMPT).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_model_is_left_as_it_was_when_a_request_fails(directory: Path, config: RunConfig) -> None:
    class Fails(StoppingCriteria):
        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            raise RuntimeError("no")

    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory)
    model.train()
    with pytest.raises(RuntimeError, match="no"):
        greedy(
            model,
            custom_generate=generate,
            specframe=config,
            stopping_criteria=StoppingCriteriaList([Fails()]),
        )
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_warm_for_a_conversation_is_refused_where_nobody_says_what_is_one(model: PreTrainedModel) -> None:
    config = RunConfig(drafter="suffix", warm="conversation")
    with pytest.raises(UsageError, match="the config's warm is conversation; allowed here: off or shared"):
        model.generate(PROMPT, custom_generate=generate, specframe=config)


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_a_cache_that_holds_something_is_refused_whatever_its_name(name: str) -> None:
    cache = DynamicCache()
    cache.update(torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 3, 2), 0)
    with pytest.raises(UsageError, match="past_key_values that hold something"):
        _refuse_what_is_not_done(GenerationConfig(), LogitsProcessorList(), {name: cache})

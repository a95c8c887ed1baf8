"""A draft model that does not fit its target is refused, or a loud warning says what is wrong."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import CommandLine
from tiny_models import VOCAB_SIZE, tiny_model, tiny_target, tiny_tokenizer
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from specframe.contracts.options import build_options
from specframe.errors import CheckpointError, SpecframeError, UsageError
from specframe.model.loading import LoadedModel
from specframe.model.target import Target
from specframe.registry.components import BuildContext, DoctorRequest, Finding
from specframe_plugins.drafters.components.draft_model import COMPONENT
from specframe_plugins.drafters.draft_model.drafter import DraftModelDrafter
from specframe_plugins.drafters.draft_model.truncated import first_layers


@pytest.fixture(scope="module")
def target() -> Target:
    return tiny_target()


def create(target: Target, **options: Any) -> DraftModelDrafter:
    context = BuildContext(target=target, required_ids=target.required_ids)
    built = build_options(COMPONENT.options, options, "drafter 'draft-model'")
    drafter: DraftModelDrafter = COMPONENT.factory(built, context)
    return drafter


def tokenizer_of(tokens: dict[int, str]) -> PreTrainedTokenizerFast:
    vocabulary = {token: token_id for token_id, token in tokens.items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>")), eos_token="<eos>"
    )


def tokens_of_the_target() -> dict[int, str]:
    return {token_id: token for token, token_id in tiny_tokenizer().get_vocab().items()}


def saved(path: Path, tokenizer: Any, model: Any = None) -> str:
    (model or tiny_model()).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def test_the_first_id_that_means_another_token_is_named(target: Target, tmp_path: Path) -> None:
    tokens = tokens_of_the_target() | {17: "w60", 60: "w17"}
    model = saved(tmp_path / "draft", tokenizer_of(tokens))
    with pytest.raises(CheckpointError) as failure:
        create(target, model=model, tokens="same")
    assert str(failure.value) == (
        f"draft model {model} has another tokenizer than tiny-llama: token id 17 is 'w60' to the draft model "
        "and 'w17' to the target; allowed: a model with the target's tokenizer, or -o "
        "drafter.tokens=intersection|strings"
    )


def test_an_id_that_only_one_of_them_knows_is_named(target: Target, tmp_path: Path) -> None:
    tokens = tokens_of_the_target()
    del tokens[40]
    with pytest.raises(CheckpointError, match="token id 40 is no token to the draft model and 'w40' to the"):
        create(target, model=saved(tmp_path / "draft", tokenizer_of(tokens)), tokens="same")


def test_the_command_line_says_so_in_one_line(
    cli: CommandLine, tiny_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = saved(tmp_path / "draft", tokenizer_of(tokens_of_the_target() | {3: "x"}))
    capsys.readouterr()  # what saving a model prints
    common = ("run", "--model", tiny_directory, "--prompt", "w5", "--drafter", "draft-model")
    outcome = cli(*common, "-o", f"drafter.model={model}", "-o", "drafter.tokens=same")
    assert outcome.exit_code == 2
    assert "token id 3 is 'x' to the draft model and 'w3' to the target" in outcome.complaint


@pytest.mark.parametrize(("drafted", "emitted"), [(101, 98), (98, 101)])
def test_tokens_behind_all_of_the_others_are_a_warning(
    drafted: int, emitted: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = Target(LoadedModel(tiny_model(), tiny_tokenizer(emitted), "tiny"))
    model = saved(tmp_path / "draft", tiny_tokenizer(drafted))
    with caplog.at_level(logging.WARNING):
        create(target, model=model)
    knows, other = (model, "tiny") if drafted > emitted else ("tiny", model)
    assert f"only {knows} knows the 3 token ids from 98 on ('w98'), {other} does not" in caplog.text


def test_a_model_that_fits_says_nothing(
    target: Target, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        create(target, model=saved(tmp_path / "draft", tiny_tokenizer()))
    assert caplog.text == ""


def test_a_model_that_hardly_agrees_with_the_target_is_a_loud_warning(
    target: Target, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        create(target, model=saved(tmp_path / "draft", tiny_tokenizer(), tiny_model(seed=1)))
    assert "below 10%: drafting with it hardly ever pays" in caplog.text


def test_fewer_positions_than_the_targets_are_a_warning(
    target: Target, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = saved(tmp_path / "draft", tiny_tokenizer(), tiny_model(max_position_embeddings=32))
    with caplog.at_level(logging.WARNING):
        create(target, model=model)
    assert f"draft model {model} has 32 positions and tiny-llama has 256" in caplog.text


def test_a_model_that_computes_nan_is_refused(target: Target, tmp_path: Path) -> None:
    broken = tiny_model()
    broken.model.norm.weight.data[5] = torch.nan
    with pytest.raises(SpecframeError, match="returns logits that are not finite"):
        create(target, model=saved(tmp_path / "draft", tiny_tokenizer(), broken))


def test_without_a_model_or_layers_there_is_nothing_to_draft_with() -> None:
    with pytest.raises(
        UsageError, match="allowed: model=MODEL, or layers=N for the first N layers of the target"
    ):
        build_options(COMPONENT.options, {}, "drafter 'draft-model'")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"layers": "2", "tokens": "strings"},
            "and none was named; allowed: model=MODEL",
        ),
        (
            {"model": "x", "tokens": "strings", "tree": "chain"},
            "tree is chain; allowed: auto, top-k",
        ),
        (
            {"model": "x", "tokens": "strings", "branching": "4"},
            "branching is 4; allowed: 1, or tokens",
        ),
        ({"model": "x", "tokens": "text"}, r"'text'; allowed: auto\|same\|intersection\|strings"),
    ],
)
def test_what_cannot_be_drafted_of_another_tokenizer_is_an_error(
    options: dict[str, str], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        build_options(COMPONENT.options, options, "drafter 'draft-model'")


def test_text_is_never_drawn() -> None:
    drafts = [
        COMPONENT.drafts(build_options(COMPONENT.options, {"model": "x", "tokens": tokens}, "it"))
        for tokens in ("strings", "intersection")
        if COMPONENT.drafts is not None
    ]
    assert drafts == [("top-k",), COMPONENT.trees]


@pytest.mark.parametrize("tokens", ["auto", "intersection"])
def test_a_tokenizer_with_too_little_in_common_is_refused_by_its_share(
    target: Target, tmp_path: Path, tokens: str
) -> None:
    model = saved(tmp_path / "draft", tokenizer_of({0: "<unk>", 1: "other", 2: "words"}))
    with pytest.raises(CheckpointError) as failure:
        create(target, model=model, tokens=tokens)
    assert str(failure.value) == (
        f"draft model {model} has 1 of the tokens of tiny-llama, 0.99%; allowed: 1% or more, or -o "
        "drafter.tokens=strings"
    )


def test_the_doctor_says_how_much_of_the_targets_vocabulary_another_tokenizer_has(
    target: Target, tmp_path: Path
) -> None:
    model = saved(tmp_path / "draft", tokenizer_of(tokens_of_the_target() | {17: "w60", 60: "w17"}))
    finding = diagnose(target, model)[0]
    assert finding.ok
    assert "has another tokenizer than tiny-llama: it drafts 99 of 101 tokens, 98%" in finding.message


def test_more_layers_than_there_are_is_an_error(target: Target) -> None:
    with pytest.raises(UsageError, match=r"tiny-llama has 3 layers; allowed: -o drafter\.layers of 1 to 3"):
        create(target, layers=4)


@pytest.mark.parametrize("model_type", ["llama", "gemma3"])
def test_the_first_layers_share_their_weights_with_the_model_and_leave_it_as_it_is(model_type: str) -> None:
    model = tiny_model(model_type)
    ids = torch.arange(3, 30)[None]
    whole, layers = model(ids).logits, model(ids, output_hidden_states=True).hidden_states
    truncated = first_layers(model, 2, "tiny")
    assert {p.data_ptr() for p in truncated.parameters()} < {p.data_ptr() for p in model.parameters()}
    expected = model.lm_head(model.model.norm(layers[2]))
    torch.testing.assert_close(truncated(ids).logits, expected)
    assert torch.equal(model(ids).logits, whole)


def test_the_first_layers_of_the_target_draft_with_its_own_head(target: Target) -> None:
    assert create(target, layers=1).output_head is target.output_head


def diagnose(target: Target | None, checkpoint: str | None) -> list[Finding]:
    assert COMPONENT.diagnose is not None
    path = None if checkpoint is None else Path(checkpoint)
    request = DoctorRequest(
        device=torch.device("cpu"), dtype=torch.float32, compile_targets=(), target=target, checkpoint=path
    )
    return list(COMPONENT.diagnose(request))


def test_the_doctor_says_whether_a_model_fits_and_predicts(target: Target, tmp_path: Path) -> None:
    same = saved(tmp_path / "same", tiny_tokenizer())
    other = saved(tmp_path / "other", tiny_tokenizer(), tiny_model(seed=1))
    stranger = saved(tmp_path / "stranger", tokenizer_of({0: "<unk>", 1: "<eos>"}))
    verdicts = [[finding.ok for finding in diagnose(target, model)] for model in (same, other, stranger)]
    assert verdicts == [[True, True], [True, False], [False]]


def test_the_doctor_has_nothing_to_say_without_a_target_or_a_model(target: Target, tmp_path: Path) -> None:
    assert diagnose(None, saved(tmp_path / "same", tiny_tokenizer())) == []
    assert [finding.ok for finding in diagnose(target, None)] == [None]


def test_a_vocabulary_without_padding_stays_a_full_one(target: Target, tmp_path: Path) -> None:
    drafter = create(target, model=saved(tmp_path / "draft", tiny_tokenizer()))
    assert not drafter.output_head.row_map.reduced
    assert drafter.output_head.vocab_size == VOCAB_SIZE

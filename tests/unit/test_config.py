"""A run's config, and the files that it is read from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from specframe.cli.options import resolve_config
from specframe.config import SETTINGS, RunConfig, load_toml, parse_options
from specframe.contracts.kinds import KINDS, KindInfo
from specframe.contracts.sampling import SamplingParams
from specframe.errors import UsageError


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    file = tmp_path / "run.toml"
    file.write_text(
        'model = "gemma3-270m"\nstrategy = "static"\nseed = 7\n'
        '[vocabulary]\ncapacity = 512\neviction = "lru"\n',
        encoding="utf-8",
    )
    return file


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "bad.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_switch_that_is_neither_on_nor_off_can_be_set(tmp_path: Path) -> None:
    assert load_toml(written(tmp_path, "cuda_graph = false")) == {"cuda_graph": False}


def test_a_whole_number_passes_for_a_fraction(tmp_path: Path) -> None:
    value = load_toml(written(tmp_path, "temperature = 1"))["temperature"]
    assert (value, type(value)) == (1.0, float)


def test_settings_are_flat_whatever_object_they_are_in() -> None:
    settings = {"strategy": "full", "temperature": 0.5, "seed": 3, "options": {"drafter": {"depth": 2}}}
    config = RunConfig.of(settings)
    assert config == RunConfig(
        strategy="full",
        sampling=SamplingParams(temperature=0.5, seed=3),
        options={"drafter": {"depth": 2}},
    )
    assert {name: config.flat()[name] for name in settings} == settings
    assert config.flat().keys() == SETTINGS.keys()


def test_a_config_is_read_from_a_file(toml: Path) -> None:
    config = RunConfig.from_toml(toml)
    assert (config.model, config.strategy, config.sampling.seed) == ("gemma3-270m", "static", 7)
    assert config.options == {"vocabulary": {"capacity": 512, "eviction": "lru"}}


def test_tables_of_commands_say_nothing_about_a_config(tmp_path: Path) -> None:
    file = written(tmp_path, 'quiet = true\nseed = 3\n[bench]\nlimit_per_task = 3\nstrategy = "full"\n')
    assert load_toml(file) == {"seed": 3}


@pytest.mark.parametrize("kind", KINDS.values(), ids=str)
@pytest.mark.parametrize("text", ['{0.setting} = "x"', '[{0.name}]\nname = "x"\ntokens = 9'])
def test_a_file_chooses_a_component_by_its_setting_or_in_the_table_of_its_options(
    tmp_path: Path, kind: KindInfo, text: str
) -> None:
    if kind.setting != kind.name:
        text = text.replace("{0.setting}", kind.setting)
    config = RunConfig.from_toml(written(tmp_path, text.format(kind)))
    assert getattr(config, kind.setting) == "x"
    assert config.options == ({kind.name: {"tokens": 9}} if "tokens" in text else {})


def test_a_value_may_contain_equals_signs_and_dots() -> None:
    assert parse_options(["drafter.checkpoint=a=b.c"]) == {"drafter": {"checkpoint": "a=b.c"}}


@pytest.mark.parametrize(
    "assignment", ["capacity=3", "vocabulary.capacity", "vocabulary.=3", ".capacity=3", "=3"]
)
def test_an_assignment_of_another_form_is_refused(assignment: str) -> None:
    with pytest.raises(UsageError):
        parse_options([assignment])


def test_an_unknown_kind_of_option_gets_the_nearest_kind() -> None:
    with pytest.raises(UsageError, match="unknown option group 'vocabluary'; did you mean 'vocabulary'"):
        parse_options(["vocabluary.capacity=3"])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("strategy = ", "is not valid TOML"),
        ('stratgy = "full"', "unknown setting in .*did you mean 'strategy'"),
        ('seed = "zero"', "seed = 'zero' must be of type int"),
        ("seed = true", "seed = True must be of type int"),
        ("target_forward = 3", "target_forward = 3 must be of type str"),
        ("top_k = 1.5", "top_k = 1.5 must be of type int"),
        ("sampling = 3", "unknown setting"),
        ("cuda_graph = 1", "cuda_graph = 1 must be of type bool"),
        ("vocabulary = 3", r"\[vocabulary\] must be a table"),
        ("drafter = 3", "drafter = 3 must be of type str"),
        ("[gather]\nname = 3", "gather = 3 must be of type str"),
        ("[vocabluary]\ncapacity = 3", "unknown setting in .*did you mean 'vocabulary'"),
        ("[vocabulary]\ncapacity = [3]", r"\[vocabulary\] capacity = \[3\] must be a text, a number"),
        ('strategy = "a"\n[vocabulary]\nname = "b"', "strategy and .* are given; allowed: one"),
        ("[options.vocabulary]\ncapacity = 3", "unknown setting"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        load_toml(written(tmp_path, text))


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not valid TOML"):
        load_toml(tmp_path / "run.toml")


def test_a_file_may_begin_with_a_mark_of_its_encoding(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(b"\xef\xbb\xbfmax_new_tokens = 3\n")
    assert load_toml(tmp_path / "run.toml") == {"max_new_tokens": 3}


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        load_toml(tmp_path / "absent.toml")


def test_a_length_limit_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="max_new_tokens is 0; allowed: 1 or more"):
        resolve_config({"max_new_tokens": 0, "model": "x"})


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"model": None}, "model is None; allowed: a text"),
        ({"drafter": 5}, "drafter is 5; allowed: a text"),
        ({"fallback": "x"}, "fallback is .x.; allowed: True or False"),
        ({"options": 5}, "options is 5; allowed: options by name"),
        ({"options": {"drafter": 5}}, "options is .*; allowed: options by name"),
    ],
)
def test_a_setting_of_another_kind_is_one_line(setting: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        RunConfig(**setting)


def test_a_path_names_a_model(tmp_path: Path) -> None:
    assert RunConfig(model=tmp_path).model == str(tmp_path)  # type: ignore[arg-type]  # that is the question

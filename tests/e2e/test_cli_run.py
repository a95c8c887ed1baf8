"""``specframe run`` from the first argument to the last token, on a tiny random model."""

from __future__ import annotations

import array
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from command_line import CommandLine, Outcome
from stranger import STRATEGY, install_plugin
from tiny_models import reference_greedy, tiny_model, tiny_tokenizer

PROMPT = "w5 w17 w42 w8"
PROMPT_IDS = [5, 17, 42, 8]
NEW_TOKENS = 12

_SPECFRAME = (sys.executable, "-P", "-c", "from specframe.cli.app import main; main()")

_RAISING_SAYS = "strategy 'raising' (raising-strategy 1.0) raised in start(): ValueError: nothing to say"
_UNBUILT_SAYS = (
    "strategy 'unbuilt' (unbuilt-strategy 1.0) raised in factory(): NotImplementedError: not today"
)

_UNTRAINABLE = """
import attrs
from specframe.registry.components import Component
from specframe.registry.hookspecs import hookimpl

@attrs.frozen
class Options:
    pass

@hookimpl
def specframe_drafters():
    factory = lambda options, context: None
    return [Component(name="untrainable", summary="a stranger's", options=Options, factory=factory)]
"""

_RAISING = """
import attrs
from specframe.contracts.options import option
from specframe.contracts.protocols import VocabularyBuilder
from specframe.registry.components import Component
from specframe.registry.hookspecs import hookimpl

@attrs.frozen
class Options:
    capacity: int = option(64, help="slots")

class Strategy(VocabularyBuilder):
    capacity = 64

    def __init__(self, pinned_ids):
        self.pinned_ids = pinned_ids

    def start(self, prompt_ids, target_topk_ids):
        raise ValueError("nothing to say")

@hookimpl
def specframe_vocabularies():
    create = lambda options, context: Strategy(context.required_ids)
    return [Component(name="raising", summary="a stranger's", options=Options, factory=create)]
"""

_WATCHING = """
import os
from specframe.registry.hookspecs import hookimpl

def note(word):
    with open(os.environ["WATCHING_LOG"], "a") as log:
        log.write(word + "\\n")

@hookimpl
def specframe_generation_started(config):
    note("started")

@hookimpl
def specframe_step_finished(stats):
    note("step")

@hookimpl
def specframe_generation_finished(report):
    note("finished")
"""


@pytest.fixture(scope="session")
def narrow_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of another hidden size."""
    directory = tmp_path_factory.mktemp("narrow")
    tiny_model(hidden_size=32).save_pretrained(directory)
    tiny_tokenizer().save_pretrained(directory)
    return directory


@pytest.fixture
def tiny(cli: CommandLine, tiny_directory: Path) -> CommandLine:
    """``specframe run`` with the tiny model in float32, a prompt and a short length limit."""

    def run(*arguments: object) -> Outcome:
        prompt = [] if {"--prompt", "--prompt-file", "-"} & {*arguments} else ["--prompt", PROMPT]
        limit = [] if "--max-new-tokens" in arguments else ["--max-new-tokens", NEW_TOKENS]
        return cli("run", "--model", tiny_directory, "--dtype", "float32", *limit, *prompt, *arguments)

    return run


@pytest.fixture
def drafted(tiny: CommandLine, tiny_head: Path) -> CommandLine:
    """The same with the random EAGLE head, and an active set that fits the tiny vocabulary."""

    def run(*arguments: object) -> Outcome:
        return tiny(*("-o", f"drafter.checkpoint={tiny_head}", "-o", "vocabulary.capacity=64"), *arguments)

    return run


@pytest.fixture(scope="module")
def greedy_ids() -> list[int]:
    return reference_greedy(tiny_model(), torch.tensor(PROMPT_IDS), NEW_TOKENS)


def printed(outcome: Outcome) -> dict[str, Any]:
    assert outcome.exit_code == 0, outcome.err
    assert outcome.err == ""
    parsed = json.loads(outcome.out)
    assert isinstance(parsed, dict)
    return parsed


def specframe_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_SPECFRAME, *arguments], env=os.environ | environment, capture_output=True, text=True, check=False
    )


def wait_until_drained(pipe: IO[bytes], seconds: float = 60) -> None:
    """Return when everything written to a pipe has been read at its other end."""
    waiting = array.array("i", [1])
    deadline = time.monotonic() + seconds
    while waiting[0]:
        assert time.monotonic() < deadline, "nobody reads"
        time.sleep(0.05)
        fcntl.ioctl(pipe, termios.FIONREAD, waiting)


def test_nanospec_prints_the_targets_own_tokens(drafted: CommandLine, greedy_ids: list[int]) -> None:
    assert printed(drafted("--strategy", "nanospec", "--json"))["token_ids"] == greedy_ids


def test_the_json_says_what_ran(drafted: CommandLine) -> None:
    report = printed(drafted("--json", "--seed", 3))
    chosen = ("strategy", "drafter", "verifier", "gather", "dtype", "device", "seed", "prompt_tokens")
    assert [report[key] for key in chosen] == [
        "nanospec", "eagle", "greedy", "torch", "float32", "cpu", 3, len(PROMPT_IDS)
    ]  # fmt: skip


def test_autoregressive_has_no_drafter(tiny: CommandLine, greedy_ids: list[int]) -> None:
    report = printed(tiny("--strategy", "autoregressive", "--json"))
    assert (report["drafter"], report["tau"], report["token_ids"]) == (None, 1.0, greedy_ids)


def test_drafting_from_the_context_needs_no_head(tiny: CommandLine, greedy_ids: list[int]) -> None:
    report = printed(tiny("--drafter", "lookup", "-o", "vocabulary.capacity=64", "--json"))
    assert (report["drafter"], report["token_ids"]) == ("lookup", greedy_ids)


def test_the_text_comes_first_and_then_the_table(drafted: CommandLine) -> None:
    text, _, table = drafted().out.partition("\n\n")
    assert text == printed(drafted("--json"))["text"]
    assert table.startswith("strategy ")


def test_the_prompt_can_come_from_a_file(tiny: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text(f"{PROMPT}\n", encoding="utf-8")
    report = printed(tiny("--strategy", "autoregressive", "--json", "--prompt-file", tmp_path / "prompt.txt"))
    assert report["prompt_tokens"] == len(PROMPT_IDS)


def test_the_command_line_beats_the_file(tiny: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('strategy = "full"\nseed = 9\n', encoding="utf-8")
    report = printed(tiny("--config", tmp_path / "run.toml", "--strategy", "autoregressive", "--json"))
    assert (report["strategy"], report["seed"]) == ("autoregressive", 9)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-o", "vocabulary.capacity=3"], "capacity 3"),
        (["--max-new-tokens", "1000"], "exceed the 256 positions"),
        (["--prompt", "w5 " * 300], "the prompt has 300 tokens; allowed: at most 255"),
        (["--chat"], "no chat template; allowed: a text as it is"),
        (["-o", "drafter.depth=-1"], "option depth of drafter 'eagle'"),
    ],
)
def test_what_does_not_fit_the_model_is_one_line(
    drafted: CommandLine, arguments: list[str], complaint: str
) -> None:
    outcome = drafted(*arguments)
    assert outcome.exit_code == 2
    assert complaint in outcome.complaint


@pytest.mark.parametrize(
    ("value", "allowed"), [("depth=-1", "integer >= 0 or none"), ("branching=many", "integer >= 1 or none")]
)
def test_an_option_that_does_not_fit_says_what_is_allowed(
    drafted: CommandLine, value: str, allowed: str
) -> None:
    name, _, given = value.partition("=")
    assert drafted("-o", f"drafter.{value}").complaint == (
        f"option {name} of drafter 'eagle' is '{given}'; allowed: {allowed}"
    )


def test_a_cuda_graph_on_a_cpu_is_one_line(drafted: CommandLine) -> None:
    outcome = drafted("--cuda-graph")
    assert outcome.exit_code == 2
    assert outcome.complaint == (
        "--cuda-graph needs a CUDA or ROCm device; this is cpu; allowed: --no-cuda-graph"
    )
    assert drafted("--no-cuda-graph").exit_code == 0


def test_verbose_says_which_backend_was_chosen(drafted: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    log = logging.getLogger("specframe")
    monkeypatch.setattr(log, "handlers", log.handlers)
    monkeypatch.setattr(log, "level", log.level)
    outcome = drafted("-v", "--max-new-tokens", 2)
    assert "specframe: gather backend on cpu: torch" in outcome.err.splitlines()
    assert "nanospec + eagle + greedy + torch" in outcome.out


def test_a_capacity_below_the_branching_is_one_line(drafted: CommandLine) -> None:
    outcome = drafted("-o", "vocabulary.capacity=16", "-o", "drafter.branching=20", "-o", "drafter.nodes=40")
    assert outcome.exit_code == 2
    assert "is below the branching 20 of drafter 'eagle'" in outcome.complaint


def test_a_missing_drafter_checkpoint_is_one_line(tiny: CommandLine, tmp_path: Path) -> None:
    outcome = tiny("-o", f"drafter.checkpoint={tmp_path / 'absent'}", "-o", "vocabulary.capacity=64")
    assert outcome.exit_code == 2
    assert "absent" in outcome.complaint


def test_a_corrupt_drafter_checkpoint_is_one_line(tiny: CommandLine, tiny_head: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((tiny_head / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors")
    outcome = tiny("-o", f"drafter.checkpoint={tmp_path}", "-o", "vocabulary.capacity=64")
    assert outcome.exit_code == 2
    assert "is corrupt" in outcome.complaint


def test_a_drafter_checkpoint_of_another_model_is_one_line(
    cli: CommandLine, tiny_head: Path, narrow_directory: Path
) -> None:
    outcome = cli(
        *("run", "--model", narrow_directory, "--dtype", "float32", "--prompt", PROMPT),
        *("-o", f"drafter.checkpoint={tiny_head}", "-o", "vocabulary.capacity=64"),
    )
    assert outcome.exit_code == 2
    assert "needs [32, 64]" in outcome.complaint


@pytest.mark.parametrize("way", ["`specframe train` makes one", "--drafter lookup needs no head"])
def test_a_model_that_a_drafter_does_not_ship_for_is_told_what_to_do(tiny: CommandLine, way: str) -> None:
    outcome = tiny("-o", "vocabulary.capacity=64")
    assert outcome.exit_code == 2
    assert way in outcome.complaint


def test_a_drafter_that_cannot_be_trained_names_those_that_can(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install_plugin(tmp_path, "untrainable-drafter", _UNTRAINABLE)
    outcome = cli("train", "--drafter", "untrainable", "--out", tmp_path / "out")
    assert outcome.exit_code == 2
    assert "drafter 'untrainable' cannot be trained; allowed: " in outcome.complaint


def test_a_strategy_that_raises_is_named_with_exit_code_1(
    drafted: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install_plugin(tmp_path, "raising-strategy", _RAISING)
    outcome = drafted("--strategy", "raising")
    assert outcome.exit_code == 1
    assert outcome.complaint == _RAISING_SAYS
    assert outcome.out.endswith("\n"), "the complaint stands behind the text that came before it"


def test_where_a_strategy_raised_can_be_seen(
    drafted: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SPECFRAME_TRACEBACK", "1")
    install_plugin(tmp_path, "raising-strategy", _RAISING)
    shown = drafted("--strategy", "raising").err
    assert "Traceback" in shown
    assert "in start" in shown


def test_with_fallback_a_strategy_that_raises_costs_no_token(
    drafted: CommandLine, greedy_ids: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install_plugin(tmp_path, "raising-strategy", _RAISING)
    report = json.loads(drafted("--strategy", "raising", "--fallback", "--json").out)
    complaint = _RAISING_SAYS
    assert (report["token_ids"], report["fallback"]) == (greedy_ids, complaint)
    assert f"went on without drafting: {complaint}" in drafted("--strategy", "raising", "--fallback").out


def test_a_factory_that_raises_is_named_with_exit_code_1(
    tiny: CommandLine, tiny_head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install_plugin(tmp_path, "unbuilt-strategy", STRATEGY.format(name="unbuilt"))
    outcome = tiny("--strategy", "unbuilt", "-o", f"drafter.checkpoint={tiny_head}")
    assert outcome.exit_code == 1
    assert outcome.complaint == _UNBUILT_SAYS


def test_an_observer_that_raises_is_a_warning(
    tiny: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install_plugin(tmp_path, "watching-without-log", _WATCHING)
    monkeypatch.delenv("WATCHING_LOG", raising=False)
    outcome = tiny("--strategy", "autoregressive")
    assert outcome.exit_code == 0
    named = "plugin watching-without-log (watching-without-log 1.0) raised in specframe_generation_started()"
    assert named in caplog.text


def test_observers_of_a_strangers_plugin_see_every_target_pass(
    drafted: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install_plugin(tmp_path, "watching-plugin", _WATCHING)
    log = tmp_path / "log"
    monkeypatch.setenv("WATCHING_LOG", str(log))
    report = printed(drafted("--json"))
    steps = ["step"] * report["target_passes"]
    assert log.read_text(encoding="utf-8").split() == ["started", *steps, "finished"]


def test_a_plugin_that_fails_to_import_is_one_line_in_a_real_process(tmp_path: Path) -> None:
    install_plugin(tmp_path, "broken-import", "import no_such_module_anywhere\n")
    done = specframe_process("models", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("specframe: plugin broken-import (broken-import 1.0) failed to import")
    assert done.stderr.count("\n") == 1


def test_a_disabled_plugin_is_not_imported_in_a_real_process(tmp_path: Path) -> None:
    install_plugin(tmp_path, "broken-import", "import no_such_module_anywhere\n")
    done = specframe_process(
        "plugins", "list", PYTHONPATH=str(tmp_path), SPECFRAME_DISABLE_PLUGINS="broken-import"
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Let child processes be interrupted: a shell starts background jobs with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupted_run_ends_quietly(tiny_directory: Path, interrupts: None) -> None:
    command = [*_SPECFRAME, "run", "--model", str(tiny_directory), "-"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stdin is not None
        process.stdin.write(b"w5")
        process.stdin.flush()
        wait_until_drained(process.stdin)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_an_interrupt_while_the_command_line_is_imported_is_quiet() -> None:
    code = (
        "import sys; from specframe.cli.entry import main\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'specframe.cli.options': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting()); main()"
    )
    ended = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")

"""Commands of plugins stand beside ours; what is wrong with one names its plugin."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_line import CommandLine
from stranger import STRATEGY, install_plugin

from specframe.cli.root import TRACEBACK_VARIABLE
from specframe.registry.installed import DISABLE_VARIABLE

DOCS = (Path(__file__).parents[3] / "docs" / "hooks.md").read_text(encoding="utf-8")
EXAMPLE = re.findall(r"```python\n(.*?)```", DOCS.partition("### specframe_register_commands")[2], re.DOTALL)[
    1
]

HOOK = """
import typer
import click
from specframe.errors import SpecframeError, UsageError
from specframe.registry.hookspecs import hookimpl

{before}

@hookimpl
def specframe_register_commands(cli):
    {body}
"""
GREET = """
def greet(name: str = "you"):
    \"\"\"Say hello.\"\"\"
    {body}
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of sys.path where distributions can be installed."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def install(site: Path, body: str, before: str = "", name: str = "theirs") -> None:
    install_plugin(site, name, HOOK.format(before=before, body=body))


def greeting(site: Path, body: str) -> None:
    install(site, "cli.command()(greet)", GREET.format(body=body))


def test_a_function_becomes_a_command_beside_ours(cli: CommandLine, site: Path) -> None:
    greeting(site, "print('hello', name)")
    assert "Say hello." in cli("--help").out
    assert cli("greet", "--name", "world").out == "hello world\n"


def test_a_group_of_commands_is_added_under_its_name(cli: CommandLine, site: Path) -> None:
    before = "app = typer.Typer()\n"
    for number in ("one", "two"):
        before += f"@app.command()\ndef {number}():\n    print({number!r})\n"
    install(site, "cli.add_typer(app, name='numbers')", before)
    assert cli("numbers", "two").out == "two\n"


CLICK = """
@click.command()
@click.option("--times", type=int, default=1, help="How often.")
def greet(times):
    "Say hello."
    if times == 3:
        raise click.ClickException("not three times")
    click.echo("hello " * times)
    click.get_current_context().exit(4 if times == 4 else 0)
"""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 0, "hello \n"),
        (["--times", "2"], 0, "hello hello \n"),
        (["--help"], 0, "Usage: specframe greet [OPTIONS]\n\n  Say hello.\n"),
        (["--times", "4"], 4, "hello "),
        (["--times", "x"], 2, "specframe: Invalid value for '--times': 'x' is not a valid integer.\n"),
        (["--often"], 2, "specframe: No such option '--often'.\n"),
        (["--times", "3"], 1, "specframe: not three times\n"),
    ],
)
def test_a_command_made_with_click_parses_its_own_arguments(
    cli: CommandLine, site: Path, arguments: list[str], code: int, said: str
) -> None:
    install(site, "cli.add_command(greet)", CLICK)
    outcome = cli("greet", *arguments)
    assert outcome.exit_code == code
    assert (outcome.out + outcome.err).startswith(said)


def test_the_commands_of_bench_and_replay_come_in_as_those_of_strangers(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = {"bench", "report", "replay"}
    assert commands <= set(cli("--help").out.split())
    monkeypatch.setenv(DISABLE_VARIABLE, "specframe-bench, specframe-replay")
    assert not commands & set(cli("--help").out.split())
    assert cli("bench").complaint == "No such command 'bench'."


@pytest.mark.parametrize(
    ("command", "owner"), [("run", "specframe"), ("bench", r"plugin specframe-bench \(specframe [^ )]+\)")]
)
def test_a_command_whose_name_is_taken_names_both(
    cli: CommandLine, site: Path, command: str, owner: str
) -> None:
    install(site, f"cli.command({command!r})(greet)", GREET.format(body="pass"))
    assert re.fullmatch(
        rf"plugin theirs \(theirs 1\.0\) adds the command '{command}', which {owner} has; set "
        r"SPECFRAME_DISABLE_PLUGINS=theirs to go on without it",
        cli("models").complaint,
    )


FAULTS = {
    "it raises": ("1 / 0", "raised in specframe_register_commands(): ZeroDivisionError: division by zero"),
    "it exits": ("raise SystemExit(3)", "raised in specframe_register_commands(): SystemExit: 3"),
    "no function": ("cli.command()(3)", "raised in specframe_register_commands(): "),
    "an annotation of nothing": (
        "cli.command()(odd)",
        "raised in specframe_register_commands(): NameError: name 'Nothing' is not defined",
    ),
    "a callback": (
        "cli.callback()(print)",
        "gives the command line a callback in specframe_register_commands(); allowed: commands",
    ),
    "a command twice": (
        "cli.command('odd')(odd); cli.command()(odd)",
        "adds the command 'odd' twice",
    ),
    "a name of two words": ("cli.command('two words')(odd)", "adds the command 'two words'; allowed: lower"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_hook_is_one_line_that_names_the_distribution(
    cli: CommandLine, site: Path, fault: str
) -> None:
    body, expected = FAULTS[fault]
    kind = "'Nothing'" if fault == "an annotation of nothing" else "str"
    install(site, body, f"def odd(value: {kind} = None):\n    pass\n")
    assert cli("models").complaint.startswith(f"plugin theirs (theirs 1.0) {expected}")


def test_a_command_that_fails_names_its_plugin_and_how_to_see_where(cli: CommandLine, site: Path) -> None:
    greeting(site, "raise KeyError(name)")
    outcome = cli("greet")
    assert outcome.exit_code == 1
    assert outcome.complaint == (
        "plugin theirs (theirs 1.0) failed in its command greet: KeyError: 'you'; SPECFRAME_TRACEBACK=1 "
        "shows where"
    )


def test_a_file_that_a_command_does_not_find_is_its_own_failure(cli: CommandLine, site: Path) -> None:
    greeting(site, "open('/no/such/file')")
    assert "failed in its command greet: FileNotFoundError" in cli("greet").complaint


def test_with_the_variable_set_the_exception_comes_through(
    cli: CommandLine, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    greeting(site, "raise KeyError(name)")
    monkeypatch.setenv(TRACEBACK_VARIABLE, "1")
    with pytest.raises(KeyError):
        cli("greet")


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        ("UsageError('name is empty; allowed: a name')", 2, "name is empty; allowed: a name"),
        ("SpecframeError('nobody is there')", 1, "nobody is there"),
    ],
)
def test_what_a_command_says_to_the_user_stays_as_it_is(
    cli: CommandLine, site: Path, raised: str, code: int, line: str
) -> None:
    greeting(site, f"raise {raised}")
    outcome = cli("greet")
    assert (outcome.exit_code, outcome.complaint) == (code, line)


def test_a_command_may_end_with_a_code_of_its_own(cli: CommandLine, site: Path) -> None:
    greeting(site, "raise typer.Exit(7)")
    assert cli("greet").exit_code == 7


@pytest.mark.parametrize("returned", ["'done'", "7", "True"])
def test_what_a_command_returns_is_not_what_it_ends_with(cli: CommandLine, site: Path, returned: str) -> None:
    greeting(site, f"return {returned}")
    assert cli("greet").exit_code in (0, None)


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        ("click.UsageError('no name')", 2),
        ("click.ClickException('no name')", 1),
        ("click.exceptions.Exit(7)", 7),
    ],
)
def test_a_command_made_with_typer_may_raise_as_with_click(
    cli: CommandLine, site: Path, raised: str, code: int
) -> None:
    greeting(site, f"raise {raised}")
    outcome = cli("greet")
    assert outcome.exit_code == code
    assert outcome.err == ("" if code == 7 else "specframe: no name\n")


def test_a_command_that_is_a_coroutine_is_refused(cli: CommandLine, site: Path) -> None:
    greeting(site, "await name")
    module = site / "theirs.py"
    module.write_text(module.read_text(encoding="utf-8").replace("def greet", "async def greet"))
    assert (
        "failed in its command greet: TypeError: it is a coroutine; allowed: a function"
        in cli("greet").complaint
    )


BROKEN = "plugin broken (broken 1.0) failed to import: ZeroDivisionError: division by zero; set "


@pytest.fixture
def broken(site: Path) -> None:
    install_plugin(site, "broken", "1 / 0\n")
    install_plugin(site, "theirs", STRATEGY.format(name="theirs"))


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("command", ["run", "models", "no-such-command"])
def test_beside_a_broken_plugin_other_commands_stop(cli: CommandLine, command: str) -> None:
    assert cli(command).complaint.startswith(BROKEN)


@pytest.mark.usefixtures("broken")
def test_the_list_goes_on_without_a_broken_plugin_and_shows_it(cli: CommandLine) -> None:
    listed = cli("plugins", "list")
    assert "nanospec" in listed.out
    assert "theirs" in listed.out
    assert f"\nBROKEN: {BROKEN}" in listed.out
    assert listed.exit_code == 0


@pytest.mark.usefixtures("broken")
def test_a_component_is_shown_beside_a_broken_plugin(cli: CommandLine) -> None:
    shown = cli("plugins", "show", "vocabulary", "theirs")
    assert shown.out.startswith("theirs: a stranger's (from theirs (theirs 1.0))")
    assert shown.complaint.startswith(BROKEN)


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_is_there_beside_a_broken_plugin(cli: CommandLine, arguments: list[str]) -> None:
    outcome = cli(*arguments)
    assert (outcome.exit_code, outcome.err) == (0, "")


@pytest.mark.parametrize("body", ["1 / 0", "cli.command('run')(print)"])
def test_doctor_says_what_is_wrong_with_the_commands_of_a_plugin(
    cli: CommandLine, site: Path, body: str
) -> None:
    install(site, body)
    outcome = cli("doctor")
    assert outcome.exit_code == 1
    assert re.search(r"BROKEN +plugin theirs +plugin theirs \(theirs 1\.0\) ", outcome.out)


def test_an_unknown_plugin_to_leave_out_is_a_line_of_the_list(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DISABLE_VARIABLE, "their-strategy")
    assert (
        "\nBROKEN: unknown plugin in SPECFRAME_DISABLE_PLUGINS 'their-strategy'" in cli("plugins", "list").out
    )
    assert cli("models").exit_code == 2


def test_the_command_of_the_page_about_hooks_runs(cli: CommandLine, site: Path, tiny_directory: Path) -> None:
    install_plugin(site, "passes", EXAMPLE)
    settings = ("--model", tiny_directory, "--dtype", "float32", "--drafter", "lookup", "--max-new-tokens", 4)
    assert re.fullmatch(r"\d\.\d\d tokens a pass\n", cli("passes", "hello", *settings).out)
    assert cli("passes", "hello", *settings, "--json").out.startswith('{"tau": ')

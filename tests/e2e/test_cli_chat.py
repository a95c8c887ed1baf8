"""``specframe chat`` and the stop options of ``specframe run``, on a tiny random model."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from command_line import CommandLine, Outcome
from tiny_models import tiny_model, tiny_tokenizer

_OPTIONS = ("--dtype", "float32", "--strategy", "autoregressive", "--max-new-tokens", 8)


@pytest.fixture(scope="module")
def chat_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model with a chat template."""
    directory = tmp_path_factory.mktemp("chat")
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} w3 {% endfor %}w4 "
    tiny_model().save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def chat(cli: CommandLine, chat_directory: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """``chat("w5\\n", "--system", "w6")`` types lines into ``specframe chat``."""

    def run(typed: str, *arguments: object) -> Outcome:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        return cli("chat", "--model", chat_directory, *_OPTIONS, *arguments)

    return run


def answers(outcome: Outcome) -> list[str]:
    assert outcome.exit_code == 0, outcome.err
    return outcome.out.removesuffix("\n\n").split("\n\n")


def test_every_line_is_answered(chat: CommandLine) -> None:
    outcome = chat("w5\nw6\n")
    assert len(answers(outcome)) == 2
    assert outcome.err.count("tokens/s") == 2


def test_a_later_turn_knows_the_earlier_ones(chat: CommandLine) -> None:
    assert answers(chat("w5\nw6\n"))[1] != answers(chat("w7\nw6\n"))[1]


def test_new_starts_over(chat: CommandLine) -> None:
    first, again = answers(chat("w5\n/new\nw5\n"))
    assert first == again


def test_quit_ends_the_chat(chat: CommandLine) -> None:
    assert len(answers(chat("w5\n/quit\nw6\n"))) == 1


def test_an_empty_line_is_no_turn(chat: CommandLine) -> None:
    assert len(answers(chat("\n  \nw5\n"))) == 1


def test_the_system_message_comes_first(chat: CommandLine) -> None:
    assert answers(chat("w5\n", "--system", "w9")) != answers(chat("w5\n"))


def test_a_model_without_a_chat_template_is_one_line(
    cli: CommandLine, tiny_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("w5\n"))
    outcome = cli("chat", "--model", tiny_directory, *_OPTIONS)
    assert outcome.exit_code == 2
    assert "specframe: this model has no chat template; allowed: a text as it is (specframe" in outcome.err


def test_an_interrupted_answer_ends_and_the_chat_goes_on(
    chat: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from specframe.model.target import Target

    tree_pass, calls = Target.tree_pass, []

    def interrupted(self: Target, tree: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return tree_pass(self, tree)  # type: ignore[arg-type]

    monkeypatch.setattr(Target, "tree_pass", interrupted)
    first, second = answers(chat("w5\nw6\n"))
    assert first.endswith(" [interrupted]")
    assert len(second.split()) > len(first.split()) - 1


def test_stop_strings_and_stop_ids_end_a_run(cli: CommandLine, chat_directory: Path) -> None:
    def run(*arguments: object) -> dict[str, object]:
        outcome = cli("run", "--model", chat_directory, *_OPTIONS, "--prompt", "w5", "--json", *arguments)
        parsed = json.loads(outcome.out)
        assert isinstance(parsed, dict)
        return parsed

    whole = run()
    words = str(whole["text"]).split()
    assert run("--stop", words[3], "--stop", "nowhere")["text"] == " ".join(words[:3]) + " "
    by_id = run("--stop-id", words[2].removeprefix("w"))
    assert (by_id["text"], by_id["finish_reason"], by_id["new_tokens"]) == (" ".join(words[:2]), "stop", 3)

"""`specframe vocab screen` makes screens ahead of a run, and `inspect` says what a file of one is of."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import CommandLine, Outcome
from states import uneven_states
from tiny_models import tiny_model, tiny_tokenizer

from specframe.engine.draft_states import DraftStates
from specframe.model.loading import CACHE_VARIABLE


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache folder in which nothing is, and states that need no drafting."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(
        DraftStates, "_made", lambda self: uneven_states(700, self.drafter.output_head.hidden_size)
    )
    return tmp_path / "cache"


def made(cli: CommandLine, model: Path, head: Path, *options: str, strategy: str = "lowrank") -> Outcome:
    chosen = [piece for text in (f"drafter.checkpoint={head}", *options) for piece in ("-o", text)]
    return cli("vocab", "screen", "--model", model, "--strategy", strategy, *chosen)


SMALL = ("vocabulary.rank=64", "vocabulary.candidates=20")


def kept(cache: Path) -> Path:
    (file,) = (cache / "screens").iterdir()
    return file


def test_a_screen_is_made_and_what_it_finds_is_said(
    cli: CommandLine, tiny_directory: Path, tiny_head: Path, cache: Path
) -> None:
    outcome = made(cli, tiny_directory, tiny_head, *SMALL)
    assert outcome.exit_code == 0, outcome.err
    assert "lowrank, 20 candidates of 101 rows" in outcome.out
    assert f"{kept(cache)} (" in outcome.out
    assert (
        "1.000 of first choices, 1.000 of the first 4, for 150 states that it was not fitted to (of 700)"
        in (outcome.out)
    )


def test_a_screen_of_few_columns_is_said_to_find_less(
    cli: CommandLine, tiny_directory: Path, tiny_head: Path
) -> None:
    outcome = made(cli, tiny_directory, tiny_head, "vocabulary.rank=1", "vocabulary.candidates=4")
    assert "for 150 states" in outcome.out
    assert "1.000 of the first 4" not in outcome.out


def test_what_is_kept_is_all_that_a_run_needs(
    cli: CommandLine, tiny_directory: Path, tiny_head: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(cli, tiny_directory, tiny_head, *SMALL)
    monkeypatch.setattr(DraftStates, "_made", lambda self: pytest.fail("states were drafted again"))
    outcome = cli(
        *(
            "run",
            "--model",
            tiny_directory,
            "--strategy",
            "lowrank",
            "--dtype",
            "float32",
            "--prompt",
            "w5 w6",
        ),
        *("-o", f"drafter.checkpoint={tiny_head}", "-o", SMALL[0], "-o", SMALL[1], "--max-new-tokens", 4),
    )
    assert (outcome.exit_code, "decomposed" in outcome.err) == (0, False)


def test_a_screen_that_leaves_no_file_says_so(
    cli: CommandLine, tiny_directory: Path, tiny_head: Path
) -> None:
    outcome = made(cli, tiny_directory, tiny_head, strategy="exact-screen")
    assert "no file: it is made at every start" in outcome.out
    assert "1.000 of first choices" in outcome.out


def test_a_file_says_what_it_is_of(
    cli: CommandLine, tiny_directory: Path, tiny_head: Path, cache: Path
) -> None:
    made(cli, tiny_directory, tiny_head, *SMALL)
    file = kept(cache)
    outcome = cli("vocab", "inspect", file, "--model", tiny_directory)
    assert outcome.exit_code == 0, outcome.err
    said = " ".join(outcome.out.split())
    assert "screen metric LM head " in said
    assert f"rank at most 64 rows 101 bytes {file.stat().st_size:,}" in said


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another model than the one that screens are made for."""
    tiny_model(hidden_size=32).save_pretrained(tmp_path / "other")
    tiny_tokenizer().save_pretrained(tmp_path / "other")
    return tmp_path / "other"


def test_a_file_of_another_head_is_one_line(
    other: Path, cli: CommandLine, tiny_directory: Path, tiny_head: Path, cache: Path
) -> None:
    made(cli, tiny_directory, tiny_head, *SMALL)
    outcome = cli("vocab", "inspect", kept(cache), "--model", other)
    assert "is a screen of LM head" in outcome.complaint
    assert "allowed: the model that it was made for, or no --model" in outcome.complaint


def test_a_file_that_is_cut_off_is_one_line(
    cli: CommandLine, tiny_directory: Path, tiny_head: Path, cache: Path
) -> None:
    made(cli, tiny_directory, tiny_head, *SMALL)
    file = kept(cache)
    file.write_bytes(file.read_bytes()[:-100])
    assert "is cut off: " in cli("vocab", "inspect", file).complaint


def test_a_screen_is_no_map(
    cli: CommandLine, tiny_directory: Path, tiny_head: Path, cache: Path, tmp_path: Path
) -> None:
    made(cli, tiny_directory, tiny_head, *SMALL)
    (tmp_path / "text").write_text("w5")
    outcome = cli("vocab", "inspect", kept(cache), "--text", tmp_path / "text")
    assert "is a screen and no map; allowed: no --text and no --holds" in outcome.complaint


@pytest.mark.parametrize(
    ("strategy", "options", "message"),
    [
        ("lowrank", ("vocabulary.rank=65", SMALL[1]), "rank 65 is above the 64 columns of the LM head"),
        ("lowrank", ("vocabulary.candidates=102",), "wants 102 candidates"),
        ("nanospec", (), "strategy 'nanospec' has no screen; allowed: strategies that have one"),
        ("autoregressive", (), "strategy 'autoregressive' has no screen"),
        ("lowrnk", (), "did you mean 'lowrank'"),
        ("lowrank", ("vocabulary.size=3",), "size"),
    ],
)
def test_what_cannot_be_made_is_one_line_before_anything_is_drafted(
    cli: CommandLine,
    tiny_directory: Path,
    tiny_head: Path,
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
    options: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.setattr(DraftStates, "_made", lambda self: pytest.fail("states were drafted"))
    assert message in made(cli, tiny_directory, tiny_head, *options, strategy=strategy).complaint

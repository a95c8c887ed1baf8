"""A stranger's package ships a head and token frequencies for its model: the built-in components use them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from command_line import CommandLine
from safetensors.torch import save_file
from stranger import install_plugin
from tiny_models import tiny_target

SHIPS = """
from pathlib import Path
from specframe.registry.hookspecs import hookimpl

@hookimpl
def specframe_data_directories():
    return [Path(__file__).with_name("{folder}")]
"""
RUN = ("run", "--dtype", "float32", "--raw", "--prompt", "w5 w17 w42 w8", "--max-new-tokens", 8, "--json")


def ship(site: Path, distribution: str, head: Path) -> Path:
    """Install a package with a head and token frequencies for the tiny model; return the folder of both."""
    install_plugin(site, distribution, SHIPS.format(folder=f"{distribution}-data"), version="2.5")
    folder = site / f"{distribution}-data" / "tiny"
    shutil.copytree(head, folder)
    save_file(
        {"token_ids": torch.tensor([30, 40], dtype=torch.int32), "counts": torch.tensor([5, 4])},
        folder / "token_frequencies.safetensors",
        metadata={"tokenizer_fingerprint": tiny_target().tokenizer_fingerprint, "source": "a stranger"},
    )
    return folder


@pytest.fixture
def folder(tmp_path: Path, tiny_head: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return ship(tmp_path, "tiny-data", tiny_head)


def run(cli: CommandLine, model: Path, *options: object) -> dict[str, object]:
    outcome = cli(*RUN, "--model", model, *options)
    assert outcome.exit_code == 0, outcome.err
    report: dict[str, object] = json.loads(outcome.out)
    return report


def test_a_strangers_head_and_frequencies_are_the_default_for_its_model(
    cli: CommandLine, tiny_directory: Path, folder: Path
) -> None:
    report = run(cli, tiny_directory, "--drafter", "eagle", "--strategy", "static", "-o", "vocabulary.size=9")
    alone = run(cli, tiny_directory, "--strategy", "autoregressive")
    assert (report["drafter"], report["strategy"], report["active_max"]) == ("eagle", "static", 9)
    assert report["token_ids"] == alone["token_ids"]


def test_the_doctor_finds_what_a_stranger_ships(cli: CommandLine, tiny_directory: Path, folder: Path) -> None:
    outcome = cli("doctor", "--model", tiny_directory, "--drafter", "eagle", "--json")
    messages = {finding["subject"]: finding["message"] for finding in json.loads(outcome.out)["findings"]}
    assert messages["EAGLE head"].startswith(str(folder))
    assert messages["token frequencies"].endswith("a stranger")


def test_two_packages_with_a_head_for_one_model_are_one_line_that_names_both(
    cli: CommandLine, tiny_directory: Path, folder: Path, tmp_path: Path, tiny_head: Path
) -> None:
    ship(tmp_path, "other-data", tiny_head)
    complaint = cli(*RUN, "--model", tiny_directory, "--strategy", "full").complaint
    assert "of plugin other-data (other-data 2.5) and " in complaint
    assert "of plugin tiny-data (tiny-data 2.5) are for the same target" in complaint


@pytest.mark.parametrize("strategy", ["full", "static"])
def test_a_broken_folder_is_one_line_that_names_its_package(
    cli: CommandLine, tiny_directory: Path, folder: Path, strategy: str
) -> None:
    broken = "config.json" if strategy == "full" else "token_frequencies.safetensors"
    (folder / broken).write_text("neither JSON nor tensors")
    complaint = cli(*RUN, "--model", tiny_directory, "--strategy", strategy).complaint
    assert complaint.startswith(f"plugin tiny-data (tiny-data 2.5) ships a broken {folder / broken}: ")


def test_a_head_that_is_named_is_taken_whatever_ships(
    cli: CommandLine, tiny_directory: Path, folder: Path, tiny_head: Path
) -> None:
    (folder / "config.json").write_text("no JSON")
    options = ("--strategy", "full", "-o", f"drafter.checkpoint={tiny_head}")
    assert run(cli, tiny_directory, *options)["drafter"] == "eagle"

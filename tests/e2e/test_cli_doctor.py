"""``specframe doctor`` as a user meets it: a table or JSON, and an exit code that a script can read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import CommandLine, Outcome
from paper_machines import IN_PROPORTION, paper_costs
from stranger import install_plugin
from tiny_models import tiny_model, tiny_target, tiny_tokenizer

from specframe.engine.known_costs import KnownCosts
from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead


@pytest.fixture
def random_head(tmp_path: Path) -> Path:
    """A head that fits the tiny model and predicts nothing."""
    torch.manual_seed(0)
    save_head(EagleHead(EagleConfig.for_target(tiny_target().config)), tmp_path / "head")
    return tmp_path / "head"


def test_a_sound_installation_exits_with_0(cli: CommandLine) -> None:
    outcome = cli("doctor")
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert "BROKEN" not in outcome.out


def test_json_is_one_object(cli: CommandLine) -> None:
    report = json.loads(cli("doctor", "--json").out)
    assert report["ok"] is True
    assert {"subject", "ok", "message"} == set(report["findings"][0])


def test_a_model_is_loaded_and_checked(cli: CommandLine, tiny_directory: Path) -> None:
    outcome = cli("doctor", "--model", tiny_directory, "--dtype", "float32")
    assert outcome.exit_code == 0
    assert "V=101, H=64" in outcome.out
    assert "no EAGLE head ships for" in outcome.out


def test_a_checkpoint_that_predicts_nothing_exits_with_1(
    cli: CommandLine, tiny_directory: Path, random_head: Path
) -> None:
    outcome = cli("doctor", "--model", tiny_directory, "--checkpoint", random_head, "--json")
    assert (outcome.exit_code, outcome.err) == (1, "")
    report = json.loads(outcome.out)
    assert report["ok"] is False
    broken = [finding["subject"] for finding in report["findings"] if finding["ok"] is False]
    assert broken == ["EAGLE head's predictions"]


def test_a_checkpoint_of_another_model_exits_with_1(
    cli: CommandLine, tmp_path: Path, random_head: Path
) -> None:
    tiny_model(hidden_size=32).save_pretrained(tmp_path / "narrow")
    tiny_tokenizer().save_pretrained(tmp_path / "narrow")
    outcome = cli("doctor", "--model", tmp_path / "narrow", "--checkpoint", random_head)
    assert outcome.exit_code == 1
    line = next(line for line in outcome.out.splitlines() if line.startswith("BROKEN"))
    assert "needs [32, 64]" in line


def test_a_model_that_cannot_be_loaded_is_a_finding(cli: CommandLine, tmp_path: Path) -> None:
    outcome = cli("doctor", "--model", tmp_path / "absent")
    assert (outcome.exit_code, outcome.err) == (1, "")
    assert "no such model file or directory" in outcome.out


def test_a_tokenizer_larger_than_the_model_is_broken(cli: CommandLine, tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    tiny_tokenizer(105).save_pretrained(tmp_path)
    outcome = cli("doctor", "--model", tmp_path)
    assert outcome.exit_code == 1
    assert "4 tokens of the tokenizer are beyond the 101 rows of the LM head" in outcome.out


def test_a_broken_plugin_is_named_and_everything_else_is_looked_at(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install_plugin(tmp_path, "broken-import", "import no_such_module_anywhere\n")
    outcome = cli("doctor")
    assert (outcome.exit_code, outcome.err) == (1, "")
    assert "SPECFRAME_DISABLE_PLUGINS=broken-import" in outcome.out
    assert "strategy nanospec" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--device", "gpu"], "device 'gpu' is not available; available: auto, cpu"),
        (["--dtype", "float23"], "unknown dtype 'float23'; did you mean 'float32'"),
        (["--drafter", "eagel"], "unknown drafter 'eagel'; did you mean 'eagle'"),
        (["--compile", "sm_8"], "unknown compile target 'sm_8'; did you mean 'sm_80'"),
    ],
)
def test_what_the_user_got_wrong_is_one_line_with_exit_code_2(
    cli: CommandLine, arguments: list[str], complaint: str
) -> None:
    outcome = cli("doctor", *arguments)
    assert outcome.exit_code == 2
    assert complaint in outcome.complaint
    assert outcome.out == ""


@pytest.fixture
def costs(cli: CommandLine, tiny_directory: Path) -> Callable[..., Outcome]:
    """``specframe doctor --costs`` of the tiny model."""

    def run(*more: object) -> Outcome:
        arguments = ("--costs", "--model", tiny_directory, "--dtype", "float32", "--drafter", "lookup")
        return cli("doctor", *arguments, *more)

    return run


def test_the_costs_of_a_model_are_tables_and_what_follows(costs: Callable[..., Outcome]) -> None:
    outcome = costs()
    assert outcome.exit_code == 0, outcome.err
    for title in (
        "target pass by forward",
        "target pass (",
        "draft (lookup)",
        "head (torch)",
        "what follows, by how often",
    ):
        assert title in outcome.out
    assert outcome.out.rstrip().splitlines()[-1].startswith("drafting pays where about ")


def test_the_costs_of_a_model_are_values_too(costs: Callable[..., Outcome]) -> None:
    found = json.loads(costs("--json").out)["costs"]
    assert found["setup"]["drafter"] == "lookup"
    assert len(found["forecast"]) == 5
    assert {"pass_s", "level_s", "head_s", "machine"} <= found.keys()
    assert found["forwards"]["fastest"] in ("lean", "openvino")


def test_where_no_draft_pays_the_last_line_says_so(
    costs: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(config: Any, target: Any, drafter: Any, options: Any, make_backend: Any) -> KnownCosts:
        return KnownCosts(paper_costs(IN_PROPORTION))

    monkeypatch.setattr(KnownCosts, "of", of)
    assert "drafting does not pay here" in costs().out

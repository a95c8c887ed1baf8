"""Verifiers and draft trees from the command line: what fits is chosen, what does not is refused."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine, Outcome

from specframe.registry.reference import Reference
from specframe_plugins.verifiers.components import COMPONENTS

PROMPT = "w5 w17 w42 w8 w33 w17 w42"
EXACT = ("sampling", "multi-round", "block", "spectr", "spectr-gbv", "gbv")


@pytest.fixture
def drafted(cli: CommandLine, tiny_directory: Path, tiny_head: Path) -> CommandLine:
    def run(*arguments: object) -> Outcome:
        common = ("--model", tiny_directory, "--dtype", "float32", "--prompt", PROMPT, "--json")
        return cli(
            "run", *common, "--max-new-tokens", 12, "-o", f"drafter.checkpoint={tiny_head}", *arguments
        )

    return run


def printed(outcome: Outcome) -> dict[str, Any]:
    assert outcome.exit_code == 0, outcome.err
    return json.loads(outcome.out)  # type: ignore[no-any-return]


@pytest.mark.parametrize("strategy", ["full", "nanospec"])
@pytest.mark.parametrize("verifier", EXACT)
def test_every_exact_verifier_gets_a_tree_it_can_verify(
    drafted: CommandLine, verifier: str, strategy: str
) -> None:
    arguments = ("--temperature", 1.3, "--verifier", verifier, "--strategy", strategy, "--seed", 4)
    report, again = (printed(drafted(*arguments)) for _ in range(2))
    assert (report["verifier"], report["lossy"]) == (verifier, False)
    assert report["token_ids"] == again["token_ids"]


@pytest.mark.parametrize("tree", ["top-k", "chain", "paths", "without-replacement"])
def test_sampling_verifies_every_kind_of_tree(drafted: CommandLine, tree: str) -> None:
    assert printed(drafted("--temperature", 1, "-o", f"drafter.tree={tree}"))["new_tokens"] >= 1


def test_top_k_1_is_greedy_with_every_exact_verifier(drafted: CommandLine) -> None:
    greedy = printed(drafted())["token_ids"]
    for verifier in EXACT:
        arguments = ("--temperature", 1, "--top-k", 1, "--verifier", verifier)
        assert printed(drafted(*arguments))["token_ids"] == greedy, verifier


def test_a_tree_that_a_verifier_cannot_verify_is_refused_with_what_to_use(drafted: CommandLine) -> None:
    outcome = drafted("--temperature", 1, "--verifier", "gbv", "-o", "drafter.tree=top-k")
    assert outcome.exit_code == 2
    assert outcome.complaint == (
        "verifier 'gbv' verifies draft trees of kind paths, chain, and drafter 'eagle' draws top-k; "
        "use -o drafter.tree=paths, or --verifier sampling"
    )


def test_a_copied_path_in_sampled_trees_is_refused_with_what_to_use(drafted: CommandLine) -> None:
    outcome = drafted("--temperature", 1, "--verifier", "multi-round", "-o", "drafter.lookup=4")
    assert outcome.exit_code == 2
    assert outcome.complaint.endswith(
        "lookup adds tokens that were not drawn, which is not exact for drawn trees; allowed: 0, "
        "or -o drafter.tree=top-k"
    )


@pytest.mark.parametrize(("verifier", "temperature"), [("typical", 1), ("loose", 0)])
def test_a_lossy_verifier_runs_only_where_it_is_allowed(
    drafted: CommandLine, verifier: str, temperature: int
) -> None:
    arguments = ("--verifier", verifier, "--temperature", temperature)
    refused = drafted(*arguments)
    assert refused.exit_code == 2
    assert "is lossy: the output would not be the target's" in refused.complaint
    assert "--allow-lossy" in refused.complaint
    assert printed(drafted(*arguments, "--allow-lossy"))["lossy"] is True


def test_allowing_lossy_verifiers_chooses_none(drafted: CommandLine) -> None:
    for temperature in (0, 1):
        assert printed(drafted("--allow-lossy", "--temperature", temperature))["lossy"] is False


def test_plugins_show_says_exact_or_lossy_and_which_trees(cli: CommandLine) -> None:
    assert "exact; draft trees: paths, chain" in cli("plugins", "show", "verifier", "gbv").out
    assert (
        "lossy, needs --allow-lossy; draft trees: top-k" in cli("plugins", "show", "verifier", "typical").out
    )


def test_every_verifier_names_its_source() -> None:
    for component in COMPONENTS:
        assert isinstance(component.factory, Reference)
        module = import_module(component.factory.module)
        assert "arXiv" in Path(str(module.__file__)).read_text(encoding="utf-8")

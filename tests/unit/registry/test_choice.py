"""What ``auto`` takes follows from what components declare, and not from their names."""

from __future__ import annotations

from typing import Any

import attrs
import pluggy
import pytest
import torch

from specframe.config import RunConfig
from specframe.contracts.kinds import KINDS, TREE_KINDS, Kind
from specframe.contracts.sampling import SamplingParams
from specframe.errors import UsageError
from specframe.registry.choice import (
    check_config,
    common_tree,
    resolve_gather,
    resolve_verifier,
    setting_for,
    wants_costs,
)
from specframe.registry.components import Component, Setting
from specframe.registry.manager import create_plugin_manager
from specframe.registry.registry import Registry

EVERY_TREE = tuple(TREE_KINDS)


@attrs.frozen
class NoOptions:
    """Nothing to set."""


@attrs.frozen
class TreeOption:
    """The kind of trees."""

    tree: str = "auto"


def component(name: str, priority: int | None = None, **settings: Any) -> Component:
    settings = {"options": NoOptions, "factory": lambda options, context: None} | settings
    return Component(name=name, summary=name, priority=lambda setting: priority, **settings)


def registry(kind: Kind, *components: Component) -> Registry:
    found = Registry()
    for one in components:
        found.register(kind, one, "somebody")
    return found


def setting(device: str = "cpu", temperature: float = 0.0) -> Setting:
    config = RunConfig(sampling=SamplingParams(temperature=temperature))
    return setting_for(config, torch.device(device), torch.float32)


def gather_of(*components: Component, device: str = "cpu") -> str:
    return resolve_gather(RunConfig(), registry("gather", *components), setting(device)).gather


def verifier_of(*components: Component, temperature: float = 0.0) -> str:
    found = registry("verifier", *components)
    return resolve_verifier(RunConfig(), found, setting(temperature=temperature)).verifier


def test_auto_takes_the_highest_priority() -> None:
    assert gather_of(component("a", 1), component("b", 3), component("c", 2)) == "b"


def test_auto_leaves_out_what_cannot_run_here() -> None:
    assert gather_of(component("a", 1), component("b", 3, supports=lambda setting: "is ill")) == "a"


def test_auto_leaves_out_what_one_has_to_ask_for() -> None:
    assert gather_of(component("a", 1), component("b")) == "a"
    with pytest.raises(UsageError, match="no gather backend runs on cpu; known: b"):
        gather_of(component("b"))


def test_a_priority_may_depend_on_the_device() -> None:
    fast = attrs.evolve(component("fast"), priority=lambda one: None if one.device.type == "cpu" else 1)
    assert gather_of(component("a", 0), fast) == "a"
    assert gather_of(component("a", 0), fast, device="meta") == "fast"


def test_what_was_asked_for_stays() -> None:
    found = registry("gather", component("a", 1))
    assert resolve_gather(RunConfig(gather="b"), found, setting()).gather == "b"


def test_auto_takes_an_exact_verifier_of_every_kind_of_tree() -> None:
    lossy = component("lossy", 9, trees=EVERY_TREE, lossy=True)
    chains = component("chains", 8, trees=("chain",))
    assert verifier_of(lossy, chains, component("exact", 1, trees=EVERY_TREE)) == "exact"
    with pytest.raises(UsageError, match=r"no verifier is exact .* at temperature 0; known: chains, lossy"):
        verifier_of(lossy, chains)


@pytest.mark.parametrize(("temperature", "name"), [(0.0, "cold"), (0.7, "hot")])
def test_the_verifier_of_auto_supports_the_temperature(temperature: float, name: str) -> None:
    cold = component(
        "cold", 1, trees=EVERY_TREE, supports=lambda one: "is cold" if one.sampling.temperature else None
    )
    hot = component(
        "hot", 0, trees=EVERY_TREE, supports=lambda one: None if one.sampling.temperature else "is hot"
    )
    assert verifier_of(cold, hot, temperature=temperature) == name


def built_in() -> pluggy.PluginManager:
    return create_plugin_manager()


@pytest.mark.parametrize(("temperature", "name"), [(0.0, "greedy"), (0.7, "sampling")])
def test_of_the_built_in_verifiers_the_temperature_decides(temperature: float, name: str) -> None:
    config = RunConfig(sampling=SamplingParams(temperature=temperature))
    config, chosen = check_config(config, built_in())
    assert (config.verifier, config.gather) == (name, "torch")
    assert [*chosen] == ["verifier", "vocabulary", "gather", "drafter"]


def test_the_interpreter_of_kernels_is_never_taken_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    import triton

    monkeypatch.setattr(triton.knobs.runtime, "interpret", True)
    assert check_config(RunConfig(), built_in())[0].gather == "torch"
    assert check_config(RunConfig(gather="triton"), built_in())[0].gather == "triton"


def test_a_lossy_verifier_is_refused_with_the_exact_one_that_auto_takes() -> None:
    with pytest.raises(UsageError, match=r"allow that with --allow-lossy, or use --verifier greedy$"):
        check_config(RunConfig(verifier="loose"), built_in())
    hot = RunConfig(verifier="typical", sampling=SamplingParams(temperature=0.7))
    with pytest.raises(UsageError, match=r"allow that with --allow-lossy, or use --verifier sampling$"):
        check_config(hot, built_in())


def test_a_drafter_declares_what_it_draws_with_given_options() -> None:
    verifier = component("v", trees=("paths", "chain")), NoOptions()
    drafter = component("d", trees=("chain", "paths"))
    declared = attrs.evolve(drafter, drafts=lambda options: (options.tree,))
    assert common_tree({"verifier": verifier, "drafter": (drafter, TreeOption("chain"))}) == "paths"
    assert common_tree({"verifier": verifier, "drafter": (declared, TreeOption("chain"))}) == "chain"
    assert common_tree({"verifier": verifier, "drafter": (declared, TreeOption("top-k"))}) is None


def test_every_kind_is_chosen_by_its_setting() -> None:
    for kind in KINDS.values():
        config = RunConfig(**{kind.setting: "nobody"})
        with pytest.raises(UsageError, match=f"unknown {kind.label} 'nobody'"):
            check_config(config, built_in())


CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def test_costs_decide_unless_a_graph_holds_the_draft_step() -> None:
    assert wants_costs(RunConfig(), CPU)
    assert not wants_costs(RunConfig(), CUDA)
    assert wants_costs(RunConfig(cuda_graph=False), CUDA)


def test_costs_that_are_off_decide_nothing() -> None:
    assert not wants_costs(RunConfig(costs="off"), CPU)


def test_pinned_costs_are_refused_beside_a_graph() -> None:
    with pytest.raises(UsageError, match="fixed shapes; allowed: --no-cuda-graph, or --costs off"):
        wants_costs(RunConfig(costs="costs.json"), CUDA)

"""How large trees may be: what is asked for, and what is sensible on a device."""

from __future__ import annotations

import torch

from specframe_plugins.trees.shape import TreeOptions


def test_given_options_win_over_the_defaults_of_the_device() -> None:
    options = TreeOptions(branching=1)
    on_cpu, on_gpu = options.shape(torch.device("cpu")), options.shape(torch.device("cuda"))
    assert (on_cpu.branching, on_gpu.branching) == (1, 1)
    assert on_cpu.nodes < on_gpu.nodes


def test_within_a_budget_trees_may_be_larger_and_the_budget_says_how_large() -> None:
    cpu = torch.device("cpu")
    fixed, most = TreeOptions().shape(cpu), TreeOptions().shape(cpu, budgeted=True)
    assert (most.depth, most.nodes) > (fixed.depth, fixed.nodes)


def test_what_is_drawn_is_as_large_with_a_budget_as_without() -> None:
    cpu = torch.device("cpu")
    assert TreeOptions().shape(cpu, "paths", budgeted=True) == TreeOptions().shape(cpu, "paths")


def test_given_options_are_the_most_within_a_budget() -> None:
    shape = TreeOptions(depth=2, nodes=5).shape(torch.device("cpu"), budgeted=True)
    assert (shape.depth, shape.nodes) == (2, 5)

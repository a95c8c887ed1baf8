"""How large trees may be: what is asked for, and what is sensible on a device."""

from __future__ import annotations

import pytest
import torch

from specframe.errors import UsageError
from specframe_plugins.trees.shape import TreeOptions


def test_given_options_win_over_the_defaults_of_the_device() -> None:
    options = TreeOptions(branching=1)
    on_cpu, on_gpu = options.shape(torch.device("cpu")), options.shape(torch.device("cuda"))
    assert (on_cpu.branching, on_gpu.branching) == (1, 1)
    assert on_cpu.nodes < on_gpu.nodes


def test_trees_follow_the_confidence_where_reading_it_is_free_and_nothing_is_drawn() -> None:
    options, cpu = TreeOptions(), torch.device("cpu")
    assert options.shape(cpu).follows_confidence
    assert not options.shape(cpu, "without-replacement").follows_confidence
    assert not options.shape(torch.device("cuda"), cuda_graph=True).follows_confidence


def test_a_gain_is_refused_for_sampled_trees_and_inside_a_graph() -> None:
    options = TreeOptions(node_gain=0.1)
    with pytest.raises(UsageError, match="drawn ones keep what was drawn"):
        options.shape(torch.device("cpu"), "chain")
    with pytest.raises(UsageError, match="a CUDA graph has fixed shapes; allowed: 0, or --no-cuda-graph"):
        options.shape(torch.device("cuda"), cuda_graph=True)
    assert options.shape(torch.device("cuda")).follows_confidence

from __future__ import annotations

import torch
from tiny_models import tiny_target

from specframe.registry.components import BuildContext
from specframe_plugins.vocabularies.components.full import COMPONENT


def test_it_has_no_capacity_so_that_no_active_set_is_kept() -> None:
    target = tiny_target()
    builder = COMPONENT.factory(
        COMPONENT.options(), BuildContext(target=target, required_ids=target.required_ids)
    )
    assert builder.capacity is None


def test_it_asks_the_target_for_nothing() -> None:
    builder = COMPONENT.factory(COMPONENT.options(), None)
    assert (builder.harvest_topk, builder.prompt_window) == (0, 0)


def test_it_admits_nothing() -> None:
    builder = COMPONENT.factory(COMPONENT.options(), None)
    assert builder.start(torch.tensor([1, 2]), None).numel() == 0

"""What a component says of itself in numbers, checked before the first request and not in the midst of it."""

from __future__ import annotations

from collections.abc import Mapping

from specframe.contracts.called.drafter import CalledDrafter
from specframe.contracts.called.strategy import CalledStrategy
from specframe.contracts.called.wrapping import Called
from specframe.contracts.kinds import Kind
from specframe.model.target import Target

# The smallest number allowed, by kind and attribute.
_LEAST: Mapping[Kind, Mapping[str, int]] = {
    "drafter": {"max_depth": 0, "max_nodes": 1, "branching": 1, "harvest_topk": 0, "prompt_window": 0},
    "vocabulary": {"harvest_topk": 0, "prompt_window": 0},
}


def check_declared(component: Called, target: Target) -> None:
    """See that a component asks for what a target can give.

    Args:
        component: whose declarations are numbers where they have to be.
        target: has V tokens and L layers.

    Raises:
        ComponentError: a number, the feature layers or a pinned id are not allowed.
    """
    owner = component.owner
    for name, least in _LEAST.get(owner.kind, {}).items():
        value = getattr(component, name)
        most = target.vocab_size if name == "harvest_topk" else None
        if value < least or (most is not None and value > most):
            allowed = f"{least} or more" if most is None else f"{least} to {most}, the tokens of the target"
            raise owner.fault(f"has the {name} {value!r}; allowed: {allowed}")
    if isinstance(component, CalledDrafter):
        _check_layers(component, target.config.num_hidden_layers)
    if isinstance(component, CalledStrategy) and component.capacity is not None:
        _check_pinned(component, target.vocab_size)


def _check_layers(drafter: CalledDrafter, layers: int) -> None:
    features = drafter.feature_layers
    known = isinstance(features, tuple) and all(type(one) is int and 0 <= one <= layers for one in features)
    if not known:
        raise drafter.owner.fault(
            f"has the feature_layers {features!r}; allowed: a tuple of layers, 0 to {layers}"
        )


def _check_pinned(strategy: CalledStrategy, vocab_size: int) -> None:
    ids = strategy.pinned_ids
    outside = ids[(ids < 0) | (ids >= vocab_size)]
    if len(outside):
        raise strategy.owner.fault(f"pins token id {int(outside[0])}; allowed: 0 to {vocab_size - 1}")

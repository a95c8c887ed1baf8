"""What a component says of itself in numbers, checked before the first request and not in the midst of it."""

from __future__ import annotations

from collections.abc import Mapping

from specframe.contracts.faults import ComponentError
from specframe.contracts.kinds import Kind
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Drafter
from specframe.model.target import Target

# The smallest number allowed, by kind and attribute.
_LEAST: Mapping[Kind, Mapping[str, int]] = {
    "drafter": {"max_depth": 0, "max_nodes": 1, "branching": 1, "harvest_topk": 0, "prompt_window": 0},
    "vocabulary": {"harvest_topk": 0, "prompt_window": 0},
}


def check_declared(kind: Kind, component: object, target: Target) -> None:
    """See that a component asks for what a target can give.

    Args:
        kind: of the component.
        component: fulfils the contract of its kind, as far as can be seen without its values.
        target: has V tokens and L layers.

    Raises:
        ComponentError: a number, the LM head or the feature layers are not allowed.
    """
    for name, least in _LEAST.get(kind, {}).items():
        value = getattr(component, name)
        most = target.vocab_size if name == "harvest_topk" else None
        if type(value) is not int or value < least or (most is not None and value > most):
            allowed = f"{least} or more" if most is None else f"{least} to {most}, the tokens of the target"
            raise ComponentError(kind, f"has the {name} {value!r}; allowed: {allowed}")
    if isinstance(component, Drafter):
        _check_drafter(component, target.config.num_hidden_layers)


def _check_drafter(drafter: Drafter, layers: int) -> None:
    head, features = drafter.output_head, drafter.feature_layers
    if head is not None and not isinstance(head, OutputHead):
        raise ComponentError(
            "drafter", f"has a {type(head).__name__} as its output_head; allowed: an OutputHead, or None"
        )
    known = isinstance(features, tuple) and all(type(one) is int and 0 <= one <= layers for one in features)
    if not known:
        raise ComponentError(
            "drafter", f"has the feature_layers {features!r}; allowed: a tuple of layers, 0 to {layers}"
        )

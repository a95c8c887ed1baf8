"""What a component must declare, checked when it is made: while its own package is imported."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from specframe.contracts.kinds import TREE_KINDS
from specframe.contracts.options import check_options_class
from specframe.errors import shown

if TYPE_CHECKING:
    from specframe.registry.components import Component

# What can be typed after an option and between commas, and stands in the names of files.
NAME = re.compile(r"[a-z0-9]+([-+._][a-z0-9]+)*")

_FUNCTIONS = ("factory", "supports", "priority", "learns")
_FUNCTIONS_OR_NONE = ("train", "train_data", "diagnose", "drafts", "sweep")


def check_component(component: Component) -> None:
    """Raise a ``ValueError`` where a field of a component is of no use; it says what is allowed."""
    name = component.name
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise ValueError(
            f"a component has the name {shown(name)}; allowed: lower-case letters and digits, with - + . or "
            "_ between them"
        )

    def refuse(field: str, allowed: str) -> ValueError:
        value = shown(getattr(component, field))
        return ValueError(f"component {name!r} has the {field} {value}; allowed: {allowed}")

    summary: Any = component.summary
    if not (isinstance(summary, str) and summary.strip() and summary.isprintable()):
        raise refuse("summary", "a line of text")
    for field in (*_FUNCTIONS, *_FUNCTIONS_OR_NONE):
        value: Any = getattr(component, field)
        if not callable(value) and not (value is None and field in _FUNCTIONS_OR_NONE):
            raise refuse(field, "a function, or its name, 'package.module:function'")
    for options_class in (component.options, component.train_options):
        if options_class is not None or options_class is component.options:
            try:
                check_options_class(options_class)
            except ValueError as error:
                raise ValueError(f"component {name!r}: {error}") from None
    if (component.train is None) != (component.train_options is None):
        raise refuse("train_options", "an attrs class beside train, and None without it")
    trees: Any = component.trees
    if not (isinstance(trees, tuple) and trees and all(tree in (*TREE_KINDS,) for tree in trees)):
        raise refuse("trees", f"a tuple of {', '.join(TREE_KINDS)}")
    if not isinstance(component.lossy, bool):
        raise refuse("lossy", "True or False")
    targets: Any = component.compile_targets
    if not (isinstance(targets, tuple) and all(isinstance(one, str) for one in targets)):
        raise refuse("compile_targets", "a tuple of names")

"""What a component is asked before anything is built; an answer that is none is its plugin's fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from specframe.contracts.kinds import KINDS, TREE_KINDS, Kind
from specframe.errors import SpecframeError, one_line, shown
from specframe.registry.components import Component
from specframe.registry.installed import broken_plugin
from specframe.registry.reference import given_by


def _are_texts(answer: object) -> bool:
    if isinstance(answer, str) or not isinstance(answer, Sequence):
        return False
    return all(isinstance(one, str) for one in answer)


def _are_trees(answer: object) -> bool:
    return isinstance(answer, Sequence) and _are_texts(answer) and {*answer} <= TREE_KINDS.keys()


# By field: what an answer may be, and in words.
_ANSWERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "supports": (lambda answer: answer is None or isinstance(answer, str), "None, or why not, as text"),
    "priority": (lambda answer: answer is None or type(answer) is int, "None, or a whole number"),
    "learns": (lambda answer: isinstance(answer, bool), "True or False"),
    "drafts": (_are_trees, f"some of {', '.join(TREE_KINDS)}"),
    "sweep": (_are_texts, "texts such as 'depth=2|3,nodes=6'"),
}


@attrs.frozen(slots=True)
class Question:
    """A function of a component, called in the name of its plugin.

    Attributes:
        function: of the component.
        field: where it stands there.
        component: whose, for errors.
        plugin: whose fault a wrong answer is.
    """

    function: Callable[..., Any]
    field: str
    component: str
    plugin: str

    def __call__(self, about: Any) -> Any:
        """Return the answer.

        Raises:
            PluginError: there was none.
            SpecframeError: the function's own, for the user.
        """
        try:
            answer = self.function(about)
        except SpecframeError:
            raise
        except Exception as error:  # a stranger's function may raise anything
            what = f"raised in {self.field}() of {self.component}: {one_line(error)}"
            raise broken_plugin(self.plugin, what) from error
        fits, allowed = _ANSWERS[self.field]
        if not fits(answer):
            what = f"returned {shown(answer)} from {self.field}() of {self.component}; allowed: {allowed}"
            raise broken_plugin(self.plugin, what)
        return answer


def in_the_name_of(plugin: str, kind: Kind, component: Component) -> Component:
    """Return a component whose functions are called in the name of the plugin that brought it."""
    named: Component = given_by(plugin, component)
    who = f"{KINDS[kind].label} {component.name!r}"
    questions: dict[str, Any] = {
        field: Question(function, field, who, plugin)
        for field in _ANSWERS
        if (function := getattr(named, field)) is not None
    }
    return attrs.evolve(named, **questions)

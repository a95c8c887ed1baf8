"""What a component answers before it is built is its plugin's affair, whatever it is."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from specframe.contracts.faults import ComponentError
from specframe.contracts.options import option
from specframe.errors import PluginError, UsageError
from specframe.registry.components import Component
from specframe.registry.registry import Registration, Registry

PLUGIN = "theirs (theirs 1.0)"


def registered(**functions: Any) -> Registration:
    registry = Registry()
    component = Component(name="one", summary="a stranger's", factory=print, **functions)
    registry.register("drafter", component, PLUGIN)
    return registry.registration("drafter", "one")


@pytest.mark.parametrize(
    ("field", "answer", "allowed"),
    [
        ("supports", True, "a reason as text, or None"),
        ("supports", " ", "a reason as text, or None"),
        ("priority", "high", "a whole number, or None"),
        ("priority", True, "a whole number, or None"),
        ("learns", None, "True or False"),
        ("drafts", "chain", "a tuple of top-k, chain, paths, without-replacement"),
        ("drafts", ["tree"], "a tuple of top-k, chain, paths, without-replacement"),
        ("sweep", "depth=2", "a tuple of texts"),
        ("sweep", [3], "a tuple of texts"),
    ],
)
def test_an_answer_that_is_none_names_the_plugin(field: str, answer: object, allowed: str) -> None:
    ask: Any = getattr(registered(**{field: lambda _: answer}).component, field)
    with pytest.raises(ComponentError) as error:
        ask(None)
    returned = "a list" if isinstance(answer, list) else repr(answer)
    assert str(error.value) == (
        f"drafter 'one' (theirs 1.0) returned {returned} from {field}(); allowed: {allowed}"
    )


def test_options_that_exit_name_the_plugin() -> None:
    @attrs.frozen
    class Options:
        size: int = option(1, help="x")

        def __attrs_post_init__(self) -> None:
            raise SystemExit(4)

    with pytest.raises(PluginError, match=r"^plugin theirs \(theirs 1.0\) raised while the options"):
        registered(options=Options).build_options({})


def test_a_question_that_raises_names_the_plugin() -> None:
    ask: Any = registered(supports=lambda setting: setting.nothing).component.supports
    with pytest.raises(ComponentError, match=r"^drafter 'one' \(theirs 1.0\) raised in supports\(\): Attr"):
        ask(None)


def test_what_a_question_says_to_the_user_keeps_its_words() -> None:
    def learns(options: Any) -> bool:
        raise UsageError("depth is 0; allowed: 1 or more")

    with pytest.raises(UsageError, match=r"^drafter 'one' \(theirs 1.0\): depth is 0; allowed: 1 or more$"):
        registered(learns=learns).component.learns(None)


def test_a_right_answer_comes_through() -> None:
    component = registered(drafts=lambda _: ("chain",), priority=lambda _: 3).component
    assert component.drafts is not None
    assert (component.drafts(None), component.priority(None)) == (("chain",), 3)  # type: ignore[arg-type]


@attrs.frozen
class Fragile:
    """Options whose check fails."""

    size: int = option(1, help="of it")

    def __attrs_post_init__(self) -> None:
        raise KeyError(self.size)


def test_options_whose_check_fails_name_the_plugin() -> None:
    with pytest.raises(PluginError, match=r"while the options of drafter 'one' were checked: KeyError: 1"):
        registered(options=Fragile).build_options({})

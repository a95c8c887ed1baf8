"""The end-to-end check: with a plugin's component the output is still the target's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pluggy
import torch

from specframe.config import OFF, RunConfig
from specframe.engine.assembly import build_engine
from specframe.model.target import Target
from specframe.registry.installed import installed_plugins
from specframe.registry.manager import create_plugin_manager
from specframe.testing.promises import alone, require
from specframe.testing.tiny import tiny_target

_OWN = "specframe"  # the distribution whose components are there beside the plugin's
# A text that repeats itself, one that does not, and a single token.
_PROMPTS = ([5, 17, 42, 8, 5, 17, 42, 8, 5, 17], [64, 21, 9, 11, 70, 33, 12], [50])


@alone
def check_lossless(
    plugin: object,
    target: Target | None = None,
    *,
    prompts: Sequence[Sequence[int]] = _PROMPTS,
    max_new_tokens: int = 24,
    **settings: Any,
) -> None:
    """Check that an engine writes what ``generate`` of transformers writes greedily, id by id.

    The engine has the components of specframe and those of the plugin, and no others. A drafter that needs no
    checkpoint drafts where none is named. Trees have a fixed size, whatever this machine could do.

    Args:
        plugin: the module with the plugin's hooks.
        target: in float32; by default ``tiny_target()``.
        prompts: token ids of each request; the last one comes again after the others.
        max_new_tokens: length limit.
        settings: of ``RunConfig``, such as ``strategy="mine"`` and
            ``options={"vocabulary": {"capacity": 9}}``.

    Raises:
        BrokenPromise: a token is another one.
        SpecframeError: a setting is not allowed, or a component fails.
    """
    target = target or tiny_target()
    options = dict(settings.pop("options", {}))
    if "drafter" not in settings:
        settings["drafter"] = "draft-model"
        options.setdefault("drafter", {"layers": 1})
    config = RunConfig(max_new_tokens=max_new_tokens, options=options, **{"costs": OFF} | settings)
    engine = build_engine(config, manager=_with_own_components(plugin), target=target)
    for prompt in (*prompts, *prompts[:1]):
        expected = _greedy(target, prompt, max_new_tokens)
        found = engine.generate([*prompt]).token_ids
        both = enumerate(zip(found, expected, strict=False))
        same = next((n for n, (one, other) in both if one != other), min(len(found), len(expected)))
        require(
            list(found) == expected,
            f"after the prompt {[*prompt]} token {same} is {found[same : same + 1]}, and the target's is "
            f"{expected[same : same + 1]}: the output is not the target's",
        )


def _with_own_components(plugin: object) -> pluggy.PluginManager:
    """Return a plugin manager that knows specframe's components and those of one plugin."""
    manager = create_plugin_manager(entry_points=False)
    for installed in installed_plugins():
        if installed.distribution == _OWN:
            manager.register(installed.entry_point.load(), name=str(installed))
    if not manager.is_registered(plugin):
        manager.register(plugin)
    return manager


def _greedy(target: Target, prompt: Sequence[int], max_new_tokens: int) -> list[int]:
    """Return what transformers generates greedily, prompt excluded."""
    model: Any = target.model
    ids = torch.tensor([[*prompt]])
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=max_new_tokens
    )
    return output[0, len(prompt) :].tolist()  # type: ignore[no-any-return]  # transformers has no types for it

"""What an engine is asked to do: from vLLM's ``additional_config``, or from an environment variable."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from specframe.config import AUTO, DEFAULT_STRATEGY
from specframe.contracts.options import build_options, option
from specframe.errors import UsageError, unknown_name
from specframe.registry.registry import Registry

VARIABLE = "SPECFRAME_VLLM"
KEY = "specframe"

Sets = Literal["shared", "per_request"]
Drafts = Literal["auto", "always"]


@attrs.frozen(slots=True, kw_only=True)
class Settings:
    """The plugin's own settings. Whatever else is set belongs to the strategy."""

    strategy: str = option(DEFAULT_STRATEGY, help="Which tokens may be drafted.")
    sets: Sets = option(
        "shared", help="One active set for all requests of an engine, or one for each of them."
    )
    drafts: Drafts = option(
        "auto", help="Whether batches for which measured steps say that drafts do not pay go without them."
    )
    gather: str = option(
        AUTO, help="What packs the LM-head rows; `auto` takes the fastest that runs on the device."
    )
    memory: float = option(
        2.0, help="What active sets may take at most; more is an error at the start.", unit="GiB", minimum=0
    )


@attrs.frozen(slots=True)
class Asked:
    """What a user asked for, checked as far as it can be without the model.

    Attributes:
        settings: the plugin's own.
        options: instance of the strategy's options class.
    """

    settings: Settings
    options: Any

    @classmethod
    def of(cls, values: Mapping[str, Any], registry: Registry) -> Asked:
        """Return what settings in JSON ask for.

        Args:
            values: by name; those that are not the plugin's own are options of the strategy.
            registry: of the installed strategies.

        Raises:
            UsageError: a name is unknown, or a value does not fit.
        """
        own = {field.name for field in attrs.fields(Settings)}
        settings = build_options(
            Settings, {name: value for name, value in values.items() if name in own}, "specframe-vllm"
        )
        strategy = registry.get("vocabulary", settings.strategy)
        if settings.gather != AUTO:
            registry.get("gather", settings.gather)
        known = {field.name for field in attrs.fields(strategy.options)}
        options = {name: value for name, value in values.items() if name not in own}
        for name in options:
            if name not in known:
                raise unknown_name(f"setting of strategy {strategy.name!r}", name, own | known)
        return cls(settings, build_options(strategy.options, options, f"strategy {strategy.name!r}"))


def asked_values(additional_config: object) -> Mapping[str, Any] | None:
    """Return the settings of an engine as they were written, or None where there are none.

    Args:
        additional_config: of the engine; its ``specframe`` counts before the environment variable.

    Raises:
        UsageError: they are not a JSON object.
    """
    if isinstance(additional_config, Mapping) and KEY in additional_config:
        return _object(additional_config[KEY], f"{KEY} in additional_config")
    written = os.environ.get(VARIABLE, "")
    if not written.strip():
        return None
    try:
        values = json.loads(written)
    except (ValueError, RecursionError) as error:  # too many digits or brackets are none of JSON's own errors
        raise UsageError(f"{VARIABLE} is no JSON: {error}") from None
    return _object(values, VARIABLE)


def _object(values: object, where: str) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise UsageError(f'{where} is {values!r}; allowed: an object such as {{"strategy": "nanospec"}}')
    return values

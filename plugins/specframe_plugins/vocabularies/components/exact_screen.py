"""Declares the strategy ``exact-screen``."""

from __future__ import annotations

import attrs

from specframe.contracts.options import option
from specframe.registry.components import Component, Setting


@attrs.frozen(slots=True)
class ExactScreenOptions:
    """Options of ``exact-screen``."""

    candidates: int = option(
        64,
        help="rows computed exactly; where more cannot be excluded, all are",
        unit="rows",
        minimum=1,
        tune=(32, 64, 128),
    )


def _supports(setting: Setting) -> str | None:
    if setting.device.type != "cpu":
        return (
            f"it asks after every product whether its proof holds, which would make {setting.device.type} "
            "wait; use --strategy lowrank, or --device cpu"
        )
    return None


COMPONENT = Component(
    name="exact-screen",
    summary="the drafts of full, from 8-bit rows and a bound on their error; on CPUs",
    options=ExactScreenOptions,
    factory="specframe_plugins.vocabularies.exact_screen:build",
    supports=_supports,
)

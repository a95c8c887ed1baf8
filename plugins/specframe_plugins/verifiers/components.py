"""The verifiers as they are chosen: names, options, and where their code is; nothing here imports torch."""

from __future__ import annotations

import attrs

from specframe.contracts.kinds import TREE_KINDS
from specframe.contracts.options import option
from specframe.registry.components import Component, Setting


@attrs.frozen(slots=True, kw_only=True)
class LooseOptions:
    """Options of ``loose``."""

    entropy: float = option(
        0.3,
        help="how undecided the target must be for a mismatch to pass: its entropy over the largest possible",
        minimum=0.0,
        maximum=1.0,
    )
    window: int = option(
        2,
        help="drafted tokens after a mismatch that the target must agree with; less than the depth",
        unit="tokens",
        minimum=1,
    )


@attrs.frozen(slots=True, kw_only=True)
class TypicalOptions:
    """Options of ``typical``."""

    threshold: float = option(
        0.09, help="probability that always suffices", minimum=0.0, maximum=1.0, unit="probability"
    )
    share: float = option(
        0.3, help="of exp(-entropy): suffices too, where the target is undecided", minimum=0.0, maximum=1.0
    )


def needs_temperature(setting: Setting) -> str | None:
    """Return why a verifier that samples cannot run at temperature 0, or None above it."""
    if setting.sampling.temperature:
        return None
    return (
        "it samples and the temperature is 0; give one above 0, such as --temperature 0.7, or use --verifier "
        "greedy"
    )


def takes_the_likeliest(setting: Setting) -> str | None:
    """Return why a verifier that takes the most likely token cannot run above temperature 0, or None at 0."""
    if setting.sampling.temperature:
        return (
            f"it takes the most likely token and the temperature is {setting.sampling.temperature:g}; use "
            "--verifier sampling, or temperature 0"
        )
    return None


def decodes_greedily(setting: Setting) -> str | None:
    """Return why a lossy verifier that decodes greedily cannot run above temperature 0, or None at 0."""
    if setting.sampling.temperature:
        return (
            f"it decodes greedily and the temperature is {setting.sampling.temperature:g}; leave the "
            "temperature out"
        )
    return None


BLOCK = Component(
    name="block",
    summary="exact sampling from a chain that is accepted or rejected as a block (block verification)",
    factory="specframe_plugins.verifiers.block:create",
    supports=needs_temperature,
    trees=("chain",),
)
GBV = Component(
    name="gbv",
    summary="exact sampling from several independent paths: selects one and verifies it as a block (GBV)",
    factory="specframe_plugins.verifiers.gbv:create",
    supports=needs_temperature,
    trees=("paths", "chain"),
)
GREEDY = Component(
    name="greedy",
    summary="exact greedy decoding: accept what the target's argmax would have emitted",
    factory="specframe_plugins.verifiers.greedy:create",
    supports=takes_the_likeliest,
    trees=tuple(TREE_KINDS),
    priority=lambda setting: 0,
)
LOOSE = Component(
    name="loose",
    summary="lossy: greedy, but passes a mismatch that the target goes along with (FLy)",
    options=LooseOptions,
    factory="specframe_plugins.verifiers.loose:create",
    supports=decodes_greedily,
    trees=tuple(TREE_KINDS),
    lossy=True,
)
MULTI_ROUND = Component(
    name="multi-round",
    summary="exact sampling: the drawn children are offered one after the other (SpecInfer, RSD)",
    factory="specframe_plugins.verifiers.multi_round:create",
    supports=needs_temperature,
    trees=("without-replacement", "paths", "chain"),
)
SAMPLING = Component(
    name="sampling",
    summary="exact sampling for any draft tree: accept the target's own draws as far as they were drafted",
    factory="specframe_plugins.verifiers.sampling:create",
    supports=needs_temperature,
    trees=tuple(TREE_KINDS),
    priority=lambda setting: 0,
)
SPECTR = Component(
    name="spectr",
    summary="exact sampling from several independent paths by k-sequential selection (SpecTr)",
    factory="specframe_plugins.verifiers.spectr:create",
    supports=needs_temperature,
    trees=("paths", "chain"),
)
SPECTR_GBV = Component(
    name="spectr-gbv",
    summary="exact sampling from several independent paths: k-sequential selection of whole blocks",
    factory="specframe_plugins.verifiers.spectr_gbv:create",
    supports=needs_temperature,
    trees=("paths", "chain"),
)
TYPICAL = Component(
    name="typical",
    summary="lossy: accepts drafted tokens that the target finds likely enough (Medusa)",
    options=TypicalOptions,
    factory="specframe_plugins.verifiers.typical:create",
    supports=needs_temperature,
    trees=tuple(TREE_KINDS),
    lossy=True,
)

# In order of their names.
COMPONENTS = (BLOCK, GBV, GREEDY, LOOSE, MULTI_ROUND, SAMPLING, SPECTR, SPECTR_GBV, TYPICAL)

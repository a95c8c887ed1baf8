"""What verifiers that sample ask of a run."""

from __future__ import annotations

from specframe.registry.components import Setting


def needs_temperature(setting: Setting) -> str | None:
    """Return why a verifier that samples cannot run at temperature 0, or None above it."""
    if setting.sampling.temperature:
        return None
    return (
        "it samples and the temperature is 0; give one above 0, such as --temperature 0.7, or use --verifier "
        "greedy"
    )

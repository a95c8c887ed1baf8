"""What a draft head with induction heads does not go together with."""

from __future__ import annotations

from typing import Any

from vllm.config import VllmConfig

from specframe.errors import UsageError


def refuse_kv_connector(head: Any, config: VllmConfig) -> None:
    """Raise a ``UsageError`` where keys of induction heads would be looked for that nobody brought.

    Args:
        head: config of the draft model: vLLM's own around ``SpecframeEagleConfig``, or any other.
        config: of the engine.
    """
    connector = getattr(config.kv_transfer_config, "kv_connector", None)
    if connector is not None and getattr(head, "induction_groups", 0) > 0:
        raise UsageError(
            f"KV connector {connector} brings keys into the cache, but not those that the draft head's "
            "induction heads need; allowed: no KV connector, or a head trained with induction_groups=0"
        )

"""The entry point that vLLM calls in each of its processes."""

from __future__ import annotations

from importlib.metadata import version

from vllm.logger import init_logger

from specframe_vllm import draft_head, metrics
from specframe_vllm.compatibility import MODEL_RUNNER_V1, MODEL_RUNNER_V2, TESTED, missing
from specframe_vllm.hooks import v1, v2

# Below vLLM's own name, so that its logging shows it.
_log = init_logger("vllm.specframe")
_registered = False


def register() -> None:
    """Register specframe's draft heads, and listen to the model runners that the installed vLLM has.

    vLLM may call it several times in a process; the first call counts. Nothing that an engine does changes
    unless it has settings. On a vLLM that lacks what is listened to there is one line in the log.
    """
    global _registered
    if _registered:
        return
    _registered = True
    draft_head.register()
    metrics.register()
    lacking = missing(MODEL_RUNNER_V1)
    if lacking:
        _log.warning(
            "specframe-vllm %s does not know this vLLM %s and leaves it as it is: there is no %s; tested: %s",
            version("specframe-vllm"),
            _vllm_version(),
            ", no ".join(lacking),
            TESTED,
        )
        return
    v1.install()
    if not missing(MODEL_RUNNER_V2):
        v2.install()


def _vllm_version() -> str:
    """Return the version of vLLM; builds for other devices have other names on the index."""
    import vllm

    return str(vllm.__version__)

"""The entry point that vLLM calls in each of its processes."""

from __future__ import annotations

from importlib.metadata import version

from vllm.logger import init_logger

from specframe.errors import one_line
from specframe_vllm import draft_head, metrics
from specframe_vllm.compatibility import (
    CONFIGURE,
    MODEL_RUNNER_V1,
    MODEL_RUNNER_V2,
    SCHEDULING,
    TESTED,
    missing,
)
from specframe_vllm.hooks import configuring, scheduler, v1, v2

# Below vLLM's own name, so that its logging shows it.
_log = init_logger("vllm.specframe")
_registered = False


def register() -> None:
    """Register specframe's draft heads, and listen to what the installed vLLM has: model runners, scheduler.

    vLLM may call it several times in a process; the first call counts. Nothing that an engine does changes
    unless it has settings. On a vLLM that lacks what is listened to there is one line in the log.
    """
    global _registered
    if _registered:
        return
    _registered = True
    lacking = missing(MODEL_RUNNER_V1)
    if lacking:
        _say("and leaves it as it is", f"there is no {', no '.join(lacking)}")
        return
    try:
        draft_head.register()
        metrics.register()
    except Exception as error:  # anything may have moved in another release
        _say("and leaves it as it is", one_line(error))
        return
    lacking = missing([CONFIGURE])
    if lacking:
        _say("well enough to check settings before a model is loaded", f"there is no {', no '.join(lacking)}")
    else:
        configuring.install()
    v1.install()
    lacking = missing(MODEL_RUNNER_V2)
    if lacking:
        _say(
            "well enough for model runner V2, which drafts as without", f"there is no {', no '.join(lacking)}"
        )
    else:
        v2.install()
    lacking = missing(SCHEDULING)
    if lacking:
        _say("well enough to leave large batches undrafted", f"there is no {', no '.join(lacking)}")
    else:
        scheduler.install()


def _say(what: str, why: str) -> None:
    _log.warning(
        "specframe-vllm %s does not know this vLLM %s %s: %s; tested: %s",
        version("specframe-vllm"),
        _vllm_version(),
        what,
        why,
        TESTED,
    )


def _vllm_version() -> str:
    """Return the version of vLLM; builds for other devices have other names on the index."""
    import vllm

    return str(vllm.__version__)

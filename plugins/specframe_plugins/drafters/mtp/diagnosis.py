"""What ``specframe doctor`` says about an MTP layer: is there one, and does it predict the target."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from specframe.errors import UsageError
from specframe.registry.components import DoctorRequest, Finding
from specframe_plugins.drafters.mtp.checkpoint import LoadedMtp, load
from specframe_plugins.drafters.probe import Predict, probe

SUBJECT = "MTP layer"


def diagnose(request: DoctorRequest) -> Iterator[Finding]:
    """Check the layer in a checkpoint, or in the target's own, if there is a target."""
    target = request.target
    if target is None:
        return
    try:
        loaded = load(request.checkpoint, target)
    except UsageError as error:
        # Most models have none; one that was named should.
        yield Finding(SUBJECT, None if request.checkpoint is None else False, str(error))
        return
    yield Finding(SUBJECT, True, f"{loaded.source}: sizes and values fit")
    yield probe(predictor(loaded), target).finding(f"{SUBJECT}'s predictions")


def predictor(loaded: LoadedMtp) -> Predict:
    """Return the layer's first choices."""

    def predict(token_ids: Tensor, features: Tensor) -> Tensor:
        forward = loaded.forward
        forward.keep(0)
        embeddings = loaded.embed_tokens(token_ids[1:]).to(forward.dtype)
        best = loaded.output_head.best(forward.commit(embeddings, features.to(forward.dtype)))
        forward.keep(0)
        return best

    return predict

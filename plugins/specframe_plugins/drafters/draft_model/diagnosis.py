"""What ``specframe doctor`` says about a draft model: does it fit the target, and does it predict it."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from specframe.errors import UsageError
from specframe.model.language_model import LanguageModel
from specframe.registry.components import DoctorRequest, Finding
from specframe_plugins.drafters.draft_model.backbone import ModelBackbone
from specframe_plugins.drafters.draft_model.loading import load
from specframe_plugins.drafters.probe import Predict, probe

SUBJECT = "draft model"
WHY = "drafting with it hardly ever pays"


def diagnose(request: DoctorRequest) -> Iterator[Finding]:
    """Check a model, named as the checkpoint, against the target, if there is one."""
    target = request.target
    if target is None:
        return
    if request.checkpoint is None:
        yield Finding(SUBJECT, None, "none was named; allowed: --checkpoint MODEL")
        return
    try:
        model = load(str(request.checkpoint), None, target)
    except UsageError as error:
        yield Finding(SUBJECT, False, str(error))
    else:
        yield Finding(SUBJECT, True, f"{model.name}: its tokenizer is the target's")
        yield probe(predictor(model), target).finding("draft model's predictions", why=WHY)


def predictor(model: LanguageModel) -> Predict:
    """Return the model's first choices; it reads no features."""

    def predict(token_ids: Tensor, features: Tensor) -> Tensor:
        backbone = ModelBackbone(model, beams=1, levels=0)
        backbone.keep(0)
        return model.output_head.best(backbone.commit(token_ids)[1:])

    return predict

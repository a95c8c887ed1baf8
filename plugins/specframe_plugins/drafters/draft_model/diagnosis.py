"""What ``specframe doctor`` says about a draft model: does it fit the target, and does it predict it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from specframe.errors import UsageError
from specframe.registry.components import DoctorRequest, Finding
from specframe_plugins.drafters.draft_model.backbone import ModelBackbone
from specframe_plugins.drafters.draft_model.loading import DraftModel, load
from specframe_plugins.drafters.draft_model.translated import TranslatedBackbone
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
        draft_model = load(str(request.checkpoint), None, target)
    except UsageError as error:
        yield Finding(SUBJECT, False, str(error))
    else:
        translation = draft_model.translation
        same = f"{draft_model.model.name}: its tokenizer is the target's"
        yield Finding(SUBJECT, True, same if translation is None else str(translation))
        yield probe(predictor(draft_model), target).finding("draft model's predictions", why=WHY)


def predictor(draft_model: DraftModel) -> Predict:
    """Return the model's first choices among the tokens that it drafts; it reads no features."""
    model, translation = draft_model.model, draft_model.translation

    def predict(token_ids: Tensor, features: Tensor) -> Tensor:
        if translation is None:
            backbone = ModelBackbone(model, beams=1, levels=0)
            backbone.keep(0)
            return model.output_head.best(backbone.commit(token_ids)[1:])
        translated = TranslatedBackbone(model, translation, beams=1, levels=0)
        translated.keep(0)
        own_ids, ends = translated.translated(token_ids)
        hidden = translated.commit(torch.tensor(own_ids, device=token_ids.device))
        best = model.output_head.best(hidden[torch.tensor(ends[1:], device=token_ids.device) - 1])
        if model.output_head.row_map.reduced:
            return model.output_head.row_map.tokens(best)
        firsts = [translation.begins_with(own_id) for own_id in best.tolist()]
        return torch.tensor(firsts, device=token_ids.device)

    return predict

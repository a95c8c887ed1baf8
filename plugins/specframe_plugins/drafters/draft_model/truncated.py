"""The first layers of a model as a model of their own."""

from __future__ import annotations

import copy
from itertools import chain
from typing import TYPE_CHECKING, Any

from specframe.errors import UsageError
from specframe.model.decoder_layers import name_of_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def first_layers(model: PreTrainedModel, layers: int, name: str) -> PreTrainedModel:
    """Return a model of the first ``layers`` layers, then the final norm and the LM head; weights are shared.

    Args:
        model: stays as it is.
        layers: at least 1.
        name: how users call it.

    Raises:
        UsageError: the model has fewer layers, or keeps them where they are not found.
    """
    known = int(model.config.get_text_config().num_hidden_layers)
    if layers > known:
        raise UsageError(f"{name} has {known} layers; allowed: -o drafter.layers of 1 to {known}")
    # Whatever the copy finds in its memo it takes as it is.
    memo = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    truncated = copy.deepcopy(model, memo)
    decoder: Any = truncated.get_decoder()
    list_name = name_of_layers(decoder, known)
    setattr(decoder, list_name, getattr(decoder, list_name)[:layers])
    config: Any = truncated.config.get_text_config()
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    return truncated

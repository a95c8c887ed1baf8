"""What a model alone would emit, with which probability."""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.sampling import SamplingParams
from specframe.model.target import Target
from specframe.request.processors import logits_processors


def own_distribution(
    target: Target, sampling: SamplingParams, prompt: Tensor, length: int
) -> dict[tuple[int, ...], float]:
    """Return the probability of every continuation, from the model and transformers' processors alone."""
    processors = logits_processors(sampling)
    sequences: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(length):
        ids = torch.stack([torch.cat([prompt, torch.tensor(tokens).long()]) for tokens in sequences])
        with torch.inference_mode():
            logits = target.model(input_ids=ids).logits[:, -1].float()
        rows = torch.softmax(processors(ids, logits), dim=-1).tolist()  # type: ignore[arg-type]
        sequences = {
            (*tokens, token): chance * probability
            for (tokens, chance), row in zip(sequences.items(), rows, strict=True)
            for token, probability in enumerate(row)
            if probability
        }
    return sequences

"""What ``specframe doctor`` says about an EAGLE-3 head: sizes, maps, special tokens, predictions."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from specframe.errors import CheckpointError
from specframe.model.target import Target
from specframe.registry.components import DoctorRequest, Finding
from specframe_plugins.drafters.eagle.diagnosis import predictor
from specframe_plugins.drafters.eagle3.checkpoint import LoadedHead, load_head
from specframe_plugins.drafters.probe import probe

SUBJECT = "EAGLE-3 head"


def diagnose(request: DoctorRequest) -> Iterator[Finding]:
    """Check a head against the target, if there is one."""
    target, path = request.target, request.checkpoint
    if target is None:
        return
    if path is None:
        yield Finding(SUBJECT, None, "no head ships; --checkpoint names a directory")
        return
    try:
        loaded = load_head(path, target)
    except CheckpointError as error:
        yield Finding(SUBJECT, False, str(error))
        return
    config = loaded.head.config
    known = config.tokenizer_fingerprint is not None
    tokenizer = "tokenizer fits" if known else "it does not say which tokenizer it was trained with"
    layers = ", ".join(map(str, config.feature_layers))
    yield Finding(SUBJECT, True, f"{path}: sizes and values fit; {tokenizer}; features of layers {layers}")
    yield Finding(f"{SUBJECT}'s vocabulary", *special_ids(loaded, target))
    predict = predictor(loaded.head, loaded.embed_tokens(target), loaded.output_head(target))
    found = probe(predict, target, config.feature_layers)
    yield found.finding(f"{SUBJECT}'s predictions")


def special_ids(loaded: LoadedHead, target: Target) -> tuple[bool, str]:
    """Return whether the head can draft the end of a text, and how many special ids it lacks."""
    row_map = loaded.row_map
    if row_map.token_ids is None:
        return True, f"all {target.vocab_size} tokens"
    rows = len(row_map.token_ids)
    stops = torch.tensor(sorted(target.stop_ids), dtype=torch.int64, device=target.device)
    missing = stops[~row_map.knows(stops)].tolist()
    message = f"{rows} of {target.vocab_size} tokens"
    if len(stops) and len(missing) == len(stops):
        return False, f"{message}, without any that ends a text ({missing}): no draft tree can reach the end"
    lacking = int((~row_map.knows(target.required_ids)).sum())
    return True, f"{message}; {lacking} of {len(target.required_ids)} special ids are not among them"

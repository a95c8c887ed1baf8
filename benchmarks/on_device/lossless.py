"""Part *lossless*: in float32 the output is transformers' greedy ``generate``, id by id."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from on_device.parts import Row, Setup
from on_device.targets import Checked, checked_target

_ITSELF, _ACCEPTED = "full, the target's own layers", 1.1  # least tokens per target pass
_NEW_TOKENS, _FEW = 96, 16
_CHUNK = 256  # below the longest prompt


def check(setup: Setup) -> Iterator[Row]:
    """Yield, for every configuration, whether its texts are those of transformers."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with checked_target(setup) as checked:
        new_tokens = _FEW if setup.miniature else _NEW_TOKENS
        yield Row("target", True, f"{checked.said}, {checked.target.forward_name} forward")
        references = [_generate(checked, prompt, new_tokens) for prompt in checked.prompts]
        for what, settings in configurations(checked, setup).items():
            yield Row.of(what, partial(_compared, what, checked, settings, references, new_tokens))
        if checked.missing is not None:
            yield Row("SmolLM2", None, checked.missing)


def configurations(checked: Checked, setup: Setup) -> dict[str, dict[str, Any]]:
    """Return what to run, by what it is called.

    Random heads are hardly ever right. So the target drafts for itself too: then paths are accepted, and
    their keys and values are committed.
    """
    eagle = {"drafter": dict(checked.head)}
    slots = {"capacity": 192} if setup.miniature else {"capacity": 3072}
    pruned = {"strategy": "nanospec", "options": {"vocabulary": slots, **eagle}}
    layers = {"layers": checked.target.config.num_hidden_layers}
    itself = {"drafter": "draft-model", "options": {"drafter": layers}}
    found: dict[str, dict[str, Any]] = {
        "nanospec, eagle": pruned,
        "full, eagle": {"strategy": "full", "options": eagle},
        _ITSELF: {"strategy": "full", **itself},
    }
    if not setup.miniature:
        found["nanospec, eagle, triton-indexed"] = {**pruned, "gather": "triton-indexed"}
        found["nanospec, eagle, torch"] = {**pruned, "gather": "torch"}
        found["nanospec, eagle, no CUDA graph"] = {**pruned, "cuda_graph": False}
    return found


def _generate(checked: Checked, prompt: Tensor, new_tokens: int) -> list[int]:
    """Return what transformers generates greedily, prompt excluded."""
    target = checked.target
    ids = prompt.to(target.device)[None]
    stops = sorted(target.stop_ids)
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=new_tokens,
        eos_token_id=stops or None,
        pad_token_id=stops[0] if stops else 0,
    )
    model: Any = target.model
    output = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
    new: list[int] = output[0, len(prompt) :].tolist()
    return new


def _compared(
    what: str, checked: Checked, settings: dict[str, Any], references: list[list[int]], new_tokens: int
) -> Row:
    engine, prompts = checked.engine(prefill_chunk=_CHUNK, **settings), checked.prompts
    tokens = passes = 0
    parted: list[str] = []
    for index, (prompt, reference) in enumerate(zip(prompts, references, strict=True)):
        report = engine.generate(prompt, new_tokens)
        tokens, passes = tokens + len(report.token_ids), passes + report.target_passes
        if report.token_ids != reference:
            parted.append(f"prompt {index} at token {first_difference(report.token_ids, reference)}")
    tau = (tokens - len(prompts)) / max(passes, 1)
    said = f"{tokens} ids, tau {tau:.2f}, gather {engine.config.gather}"
    if parted:
        said = f"parts from transformers: {', '.join(parted)}; {said}"
    elif what == _ITSELF and tau < _ACCEPTED:
        said = f"hardly anything was accepted, so a wrong commit would not be seen; {said}"
    ok = not parted and (what != _ITSELF or tau >= _ACCEPTED)
    return Row(what, ok, said, {"tokens": tokens, "target_passes": passes, "parted": len(parted)})


def first_difference(one: list[int], other: list[int]) -> int:
    """Return the first position where two texts differ, one of which may only be shorter."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))

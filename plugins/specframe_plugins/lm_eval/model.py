"""The model ``specframe``: it is lm-eval's own ``hf``, whose texts specframe generates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import torch
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from specframe.config import SETTINGS, RunConfig
from specframe.contracts.kinds import KINDS
from specframe.errors import UsageError
from specframe.model.loading import DEMO_MODELS, load_pretrained
from specframe.registry.choice import check_config
from specframe.registry.manager import create_plugin_manager
from specframe.registry.placement import find_dtype, resolve_placement
from specframe.transformers import engine_for, generate

# What lm-eval says in arguments of its own, or in what a task asks of a generation.
_NOT_OURS = {
    "model": "pretrained=NAME",
    "max_new_tokens": "--gen_kwargs max_gen_toks=N",
    "generation_config": "--gen_kwargs",
    **dict.fromkeys(
        (name for name, declared in SETTINGS.items() if declared is not RunConfig), "--gen_kwargs NAME=VALUE"
    ),
}
_OURS = SETTINGS.keys() - _NOT_OURS.keys() - {"dtype", "device", "options"}


@register_model("specframe")
class SpecframeLM(HFLM):
    """Scores texts as ``hf`` does, since it is ``hf``, and generates them with specframe.

    Prompts, chat templates, lengths, stop strings and sampling parameters are lm-eval's; every row of a batch
    is answered alone. Samples follow lm-eval's seeds, and are others than those of ``hf``.

    Args:
        pretrained: what ``hf`` takes, or a demo model or ``.gguf`` file of ``specframe run``.
        device: by default a GPU if there is one, else the CPU.
        dtype: of the weights; of a demo model or ``.gguf`` file by default the one that suits the device.
        **settings: settings of ``RunConfig`` such as ``strategy`` and ``drafter``, options of components such
            as ``vocabulary.capacity``, and everything that ``hf`` takes.

    Raises:
        UsageError: a setting, a component, an option or the model is not allowed.
    """

    def __init__(
        self,
        pretrained: Any,
        *,
        device: str | None = None,
        dtype: Any = None,
        **settings: Any,
    ) -> None:
        for name, instead in _NOT_OURS.items():
            if name in settings:
                raise UsageError(f"{name} is no argument of the model; allowed: {instead}")
        # lm-eval's command line says cuda:0 where nobody chose: without a GPU the CPU, as for `hf`.
        if device is None or (device.startswith("cuda") and not torch.cuda.is_available()):
            device = "cuda" if torch.cuda.is_available() else "cpu"
        # Before a model is loaded: what cannot run is said at once.
        self._run = _config_of(settings)
        check_config(attrs.evolve(self._run, device=device), create_plugin_manager())
        if isinstance(pretrained, str) and (pretrained in DEMO_MODELS or Path(pretrained).suffix == ".gguf"):
            placed = resolve_placement(RunConfig(device=device, dtype=dtype or "auto"))
            loaded = load_pretrained(pretrained, find_dtype(placed.dtype), device)
            pretrained, settings["tokenizer"] = loaded.model, loaded.tokenizer
        super().__init__(pretrained, device=device, dtype=dtype or "auto", **settings)
        if self.backend != "causal":
            raise UsageError(f"the model is {self.backend}; allowed: decoder-only models")

    def _model_generate(
        self, context: Tensor, max_length: int, stop: list[str], **generation_kwargs: Any
    ) -> Tensor:
        """Return rows [B, T + n] of prompts [B, T] and what ``hf`` would have generated for each alone."""
        samples = generation_kwargs.get("do_sample", generation_kwargs.get("temperature", 0.0) > 0)
        sampling = self._run.sampling.changed(temperature=1.0 if samples else 0.0)
        config = attrs.evolve(self._run, sampling=sampling, generation_config="none")
        engine = engine_for(self.model, config, self.tokenizer)
        masks = generation_kwargs.pop("attention_mask", torch.ones_like(context))
        alone = super()._model_generate  # one row at a time: lm-eval's stop strings count the rows of a batch
        rows = [
            alone(
                row[None],
                max_length,
                stop,
                attention_mask=mask[None],
                custom_generate=generate,
                specframe=engine,
                **generation_kwargs,
            )[0]
            for row, mask in zip(context, masks, strict=True)
        ]
        return pad_sequence(rows, batch_first=True, padding_value=self.tokenizer.pad_token_id)


def _config_of(settings: dict[str, Any]) -> RunConfig:
    """Return the config in arguments of a model, and take what belongs to it from them."""
    options: dict[str, dict[str, Any]] = {}
    for name in [*settings]:
        kind, dot, option = name.partition(".")
        if dot and kind in KINDS:
            options.setdefault(kind, {})[option] = settings.pop(name)
    own = {name: settings.pop(name) for name in [*settings] if name in _OURS}
    return RunConfig(**own, options=options)

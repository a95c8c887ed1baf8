"""The training loop: every step is a pure function of data, seed and step number, so resuming is exact."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from attrs import asdict, define, field, frozen
from torch import Tensor

from specframe.errors import UsageError
from specframe_plugins.drafters.eagle.model import EagleHead
from specframe_plugins.drafters.eagle.training.batches import Batch, load_batches, plan_epoch
from specframe_plugins.drafters.eagle.training.features import TrainingData
from specframe_plugins.drafters.eagle.training.objective import choose_subset, head_loss, make_targets
from specframe_plugins.drafters.eagle.training.shards import ANSWER, USER
from specframe_plugins.drafters.eagle.training.unroll import unroll

# Drafting happens inside answers; requests are further text of the same target and keep the head general.
_USER_WEIGHT = 0.5
_DEPTH_DECAY = 0.8
_WARMUP_SHARE = 0.03
_FINAL_RATE = 0.02
_CLIP = 1.0


@frozen(kw_only=True)
class Recipe:
    """Everything about a training but the data.

    Attributes:
        epochs: passes over the data.
        batch_tokens: most tokens of a batch, padding included.
        learning_rate: peak of AdamW's warm-up and cosine.
        weight_decay: of AdamW, on matrices.
        unroll_steps: depths of the last part.
        unroll_share: how much of the training the last part is.
        random_tokens: ids drawn from the rest of the vocabulary per batch.
        noise: uniform noise on the input features, as a share of their root mean square.
        seed: of the order, the noise and the draws.
        autocast: matrix products in bfloat16.
    """

    epochs: int
    batch_tokens: int
    learning_rate: float
    weight_decay: float
    unroll_steps: int
    unroll_share: float
    random_tokens: int
    noise: float
    seed: int
    autocast: bool


@define
class Trainer:
    """Trains a head on the shards.

    Attributes:
        head: what is trained, float32.
        data: the conversations, with the target's features.
        numbers: which conversations of it to train on.
        frequent: the ids that are always part of the softmax [N].
        feature_scale: root mean square of the features.
        recipe: how.
        state_path: where the state is kept for resuming.
    """

    head: EagleHead
    data: TrainingData
    numbers: list[int]
    frequent: Tensor
    feature_scale: float
    recipe: Recipe
    state_path: Path
    step: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)
    _updating: bool = field(default=False, init=False)
    _plans: list[list[list[int]]] = field(init=False)
    _tokens_after: list[int] = field(init=False)
    _optimizer: torch.optim.AdamW = field(init=False)

    def __attrs_post_init__(self) -> None:
        lengths = {number: self.data.shards.length(number) for number in self.numbers}
        recipe = self.recipe
        self._plans = [
            plan_epoch(lengths, recipe.batch_tokens, recipe.seed, epoch) for epoch in range(recipe.epochs)
        ]
        sizes = [sum(map(lengths.__getitem__, batch)) for plan in self._plans for batch in plan]
        self._tokens_after = [0, *itertools.accumulate(sizes)]
        matrices = [p for p in self.head.parameters() if p.ndim > 1]
        vectors = [p for p in self.head.parameters() if p.ndim <= 1]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": recipe.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.95),
        )
        if self.state_path.exists():
            self._restore()

    @property
    def total_steps(self) -> int:
        """Number of batches of all epochs."""
        return sum(map(len, self._plans))

    @property
    def total_tokens(self) -> int:
        """Number of tokens of all epochs."""
        return self._tokens_after[-1]

    @property
    def tokens_done(self) -> int:
        """Number of tokens of the steps that are done."""
        return self._tokens_after[self.step]

    def run(self, report: Callable[[float], None], save_every_s: float = 60.0) -> None:
        """Trains to the end; saves the state now and then, and once more at the end or when interrupted.

        Args:
            report: called with the loss after every step.
            save_every_s: seconds between two saves.
        """
        began = saved = time.monotonic()
        before = self.seconds
        try:
            for batch in self._batches():
                loss = self._train(batch)
                self.seconds = before + time.monotonic() - began
                report(loss)
                if time.monotonic() - saved >= save_every_s:
                    self.save()
                    saved = time.monotonic()
        finally:
            # An interrupt in the middle of an update leaves half of one; the state on disk is whole.
            if not self._updating:
                self.save()

    def save(self) -> None:
        """Writes the state beside its place and renames it."""
        self.state_path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.state_path.with_suffix(".partial")
        state = {
            "head": self.head.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "settings": self._settings(),
        }
        torch.save(state, partial)
        partial.replace(self.state_path)

    def _restore(self) -> None:
        state = torch.load(self.state_path, map_location=self.data.target.device, weights_only=True)
        for name, value in self._settings().items():
            if state["settings"].get(name) != value:
                raise UsageError(
                    f"{self.state_path} is of a training with {name} {state['settings'].get(name)}, "
                    f"not {value}; allowed: the same settings, or delete it to train anew"
                )
        self.head.load_state_dict(state["head"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]

    def _settings(self) -> dict[str, Any]:
        """What must be the same when a training goes on."""
        return {
            **asdict(self.recipe),
            "frequent_tokens": len(self.frequent),
            "conversations": len(self.numbers),
            "training tokens": self.total_tokens,
        }

    def _batches(self) -> Iterator[Batch]:
        """The batches that are left."""
        skip = self.step
        for plan in self._plans:
            yield from load_batches(self.data, plan, start=min(skip, len(plan)))
            skip = max(0, skip - len(plan))

    def _train(self, batch: Batch) -> float:
        progress = self.step / self.total_steps
        for group in self._optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * rate(progress)
        depths = self.recipe.unroll_steps if progress >= 1 - self.recipe.unroll_share else 1
        loss = self.loss(
            batch, depths, torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.step)
        )
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), _CLIP)
        self._updating = True
        self._optimizer.step()
        self.step += 1
        self._updating = False
        return loss.item()

    def loss(self, batch: Batch, depths: int, generator: torch.Generator) -> Tensor:
        """The loss of one batch, a scalar.

        The pair at position t is (embedding of token t + 1, feature t); it predicts feature t + 1, whose
        logits propose token t + 2. So the last two positions have no pair.
        """
        target, device = self.data.target, self.data.target.device
        tokens, roles = batch.tokens.to(device), batch.roles.to(device)
        role = roles[:, 2:]
        weights = (role == ANSWER) + _USER_WEIGHT * (role == USER)
        learnt = weights > 0
        subset = choose_subset(
            self.frequent, batch.tokens, self.recipe.random_tokens, target.vocab_size, generator
        ).to(device)
        features = batch.features.to(device)
        targets = make_targets(target.output_head, subset, features[:, 1:-1][learnt])
        with torch.no_grad():
            embeddings = target.embed_tokens(tokens[:, 1:-1])
        inputs = features[:, :-2].float()
        noise = torch.rand(inputs.shape, generator=generator).to(device) * 2 - 1
        inputs = inputs + self.recipe.noise * self.feature_scale * noise
        total, norm = inputs.new_zeros(()), 0.0
        position = torch.arange(role.shape[1], device=device).expand_as(role)[learnt]
        with torch.autocast(device.type, torch.bfloat16, enabled=self.recipe.autocast):
            for depth, predicted in enumerate(unroll(self.head, embeddings.float(), inputs, depths)):
                reached = weights[learnt] * (position >= depth)
                total = total + _DEPTH_DECAY**depth * head_loss(
                    predicted[learnt], targets, reached, self.feature_scale
                )
                norm += _DEPTH_DECAY**depth
        return total / norm


def rate(progress: float) -> float:
    """Learning rate as a share of its peak: linear warm-up, then a cosine."""
    if progress < _WARMUP_SHARE:
        return (progress + 1e-3) / (_WARMUP_SHARE + 1e-3)
    along = (progress - _WARMUP_SHARE) / (1 - _WARMUP_SHARE)
    return _FINAL_RATE + (1 - _FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * along))

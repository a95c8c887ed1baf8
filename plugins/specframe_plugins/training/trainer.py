"""The training loop: every step is a pure function of data, seed and step number, so resuming is exact."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from attrs import define, field, frozen
from torch import Tensor, nn

from specframe.errors import UsageError
from specframe_plugins.training.architecture import Architecture, Dropout
from specframe_plugins.training.batches import Batch, load_batches, plan_epoch
from specframe_plugins.training.features import TrainingData
from specframe_plugins.training.objective import choose_subset, head_loss, make_targets, rows_of
from specframe_plugins.training.options import TrainOptions
from specframe_plugins.training.shards import ANSWER, USER

_WARMUP_SHARE = 0.03
_FINAL_RATE = 0.02
_CLIP = 1.0
# Saving takes at most this share of the time: on a small head every step is saved.
_SAVING_SHARE = 0.1
_POINTS = 200
# The options that decide what a training computes.
_RECIPE = (
    *("epochs", "batch_tokens", "learning_rate", "weight_decay", "unroll_steps", "unroll_share"),
    *("depth_decay", "random_tokens", "soft_share", "feature_weight", "user_weight", "noise", "dropout"),
    *("ema", "evaluations", "patience", "seed"),
)


@frozen
class Evaluation:
    """One measurement on the way.

    Attributes:
        step: after which step.
        tau: what was measured.
    """

    step: int
    tau: float


@define
class Trainer:
    """Trains a head.

    Attributes:
        architecture: what kind of head it is.
        head: what is trained, float32.
        data: the conversations, with the target's features.
        numbers: which conversations of it to train on.
        frequent: the ids that are always part of the softmax [N].
        feature_scale: root mean square of the features.
        input_scale: of what the head reads [F].
        options: how.
        state_path: where the state is kept for resuming.
        evaluate: measures tau of the head as it is; None to train without.
    """

    architecture: Architecture[Any]
    head: nn.Module
    data: TrainingData
    numbers: list[int]
    frequent: Tensor
    feature_scale: float
    input_scale: Tensor
    options: TrainOptions
    state_path: Path
    evaluate: Callable[[nn.Module], float] | None = None
    step: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)
    losses: list[tuple[int, float]] = field(factory=list, init=False)
    evaluations: list[Evaluation] = field(factory=list, init=False)
    _averaged: dict[str, Tensor] = field(factory=dict, init=False)
    _best: dict[str, Tensor] = field(factory=dict, init=False)
    _recent: list[float] = field(factory=list, init=False)
    _updating: bool = field(default=False, init=False)
    _plans: list[list[list[int]]] = field(init=False)
    _tokens_after: list[int] = field(init=False)
    _optimizer: torch.optim.AdamW = field(init=False)

    def __attrs_post_init__(self) -> None:
        lengths = {number: self.data.shards.length(number) for number in self.numbers}
        options = self.options
        self._plans = [
            plan_epoch(lengths, options.batch_tokens, options.seed, epoch) for epoch in range(options.epochs)
        ]
        sizes = [sum(map(lengths.__getitem__, batch)) for plan in self._plans for batch in plan]
        self._tokens_after = [0, *itertools.accumulate(sizes)]
        parameters = [p for p in self.head.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in parameters if p.ndim > 1], "weight_decay": options.weight_decay},
                {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
            ],
            betas=(0.9, 0.95),
        )
        if options.ema:
            self._averaged = _copy(self.head)
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

    @property
    def stopped_early(self) -> bool:
        """The last `patience` evaluations found nothing better."""
        if not self.options.patience or not self.evaluations:
            return False
        best = max(range(len(self.evaluations)), key=lambda n: self.evaluations[n].tau)
        return len(self.evaluations) - 1 - best >= self.options.patience

    def run(self, report: Callable[[float], None]) -> None:
        """Trains to the end; a process that is killed loses a batch, or as much as saving is slow.

        Args:
            report: called with the loss after every step.
        """
        began = saved = time.monotonic()
        before, cost = self.seconds, 0.0
        try:
            for batch in self._batches():
                if self.stopped_early:
                    break
                loss = self._train(batch)
                self.seconds = before + time.monotonic() - began
                report(loss)
                if time.monotonic() - saved >= cost / _SAVING_SHARE:
                    start = time.monotonic()
                    self.save()
                    saved = time.monotonic()
                    cost = saved - start
        finally:
            # An interrupt in the middle of an update leaves half of one; the state on disk is whole.
            if not self._updating:
                self.save()
                self.state_path.with_suffix(".partial").unlink(missing_ok=True)

    def finished_head(self) -> nn.Module:
        """Puts the weights that are to be kept into the head: the best measured, or the last."""
        weights = self._best or self._averaged
        if weights:
            self.head.load_state_dict(weights)
        return self.head.eval()

    def save(self) -> None:
        """Writes the state beside its place and renames it.

        The file that it replaces is written over the next time, since a new one takes longer.
        """
        self.state_path.parent.mkdir(parents=True, exist_ok=True)
        partial, replaced = (self.state_path.with_suffix(suffix) for suffix in (".partial", ".replaced"))
        state = {
            "head": self.head.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "averaged": self._averaged,
            "best": self._best,
            "losses": self.losses,
            "recent": self._recent,
            "evaluations": [(found.step, found.tau) for found in self.evaluations],
            "step": self.step,
            "seconds": self.seconds,
            "settings": self._settings(),
        }
        with partial.open("r+b" if partial.exists() else "wb") as file, _without_checksums():
            torch.save(state, file)
            file.truncate()
        replaced.unlink(missing_ok=True)
        if self.state_path.exists():
            with contextlib.suppress(OSError):  # no hard links here: every file is a new one
                replaced.hardlink_to(self.state_path)
        partial.replace(self.state_path)
        if replaced.exists():
            replaced.replace(partial)

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
        self._averaged, self._best = state["averaged"], state["best"]
        self.losses, self._recent = list(map(tuple, state["losses"])), state["recent"]
        self.evaluations = [Evaluation(*found) for found in state["evaluations"]]
        self.step, self.seconds = state["step"], state["seconds"]

    def _settings(self) -> dict[str, Any]:
        """What must be the same when a training goes on."""
        return {
            **{name: getattr(self.options, name) for name in _RECIPE},
            "autocast": self.data.target.dtype == torch.bfloat16,
            "parameters": sum(parameter.numel() for parameter in self.head.parameters()),
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
        return self.update(
            batch, self.options.unroll_steps if progress >= 1 - self.options.unroll_share else 1
        )

    def update(self, batch: Batch, depths: int) -> float:
        """Takes the next step, on a batch unrolled to some depths; returns the loss."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.options.learning_rate * rate(self.step / self.total_steps)
        self.head.train()
        loss = self.loss(
            batch, depths, torch.Generator().manual_seed(self.options.seed * 1_000_003 + self.step)
        )
        self._optimizer.zero_grad()
        loss.backward()
        self.architecture.before_step(self.head, self.step / self.total_steps)
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), _CLIP)
        self._updating = True
        self._optimizer.step()
        self.step += 1
        self._average()
        self._record(loss.item())
        self._updating = False
        return loss.item()

    def _average(self) -> None:
        # The average of a short training must not remember its random start.
        decay = min(self.options.ema, self.step / (10 + self.step))
        for name, weight in self.head.state_dict().items():
            if name in self._averaged:
                self._averaged[name].lerp_(weight, 1 - decay)

    def _record(self, loss: float) -> None:
        """Keeps a point of the curve now and then, and measures the head when it is time."""
        self._recent.append(loss)
        if _passes(self.step, self.total_steps, _POINTS):
            self.losses.append((self.step, sum(self._recent) / len(self._recent)))
            self._recent = []
        if self.evaluate is None or not _passes(self.step, self.total_steps, self.options.evaluations):
            return
        trained = _copy(self.head)
        if self._averaged:
            self.head.load_state_dict(self._averaged)
        tau = self.evaluate(self.head.eval())
        if all(tau > found.tau for found in self.evaluations):
            self._best = _copy(self.head)
        self.evaluations.append(Evaluation(self.step, tau))
        self.head.load_state_dict(trained)

    def loss(self, batch: Batch, depths: int, generator: torch.Generator) -> Tensor:
        """The loss of one batch, a scalar.

        The pair at position t is (embedding of token t + 1, feature t); it predicts feature t + 1, whose
        logits propose token t + 2. So the last two positions have no pair.
        """
        options, target, device = self.options, self.data.target, self.data.target.device
        tokens, roles = batch.tokens.to(device), batch.roles.to(device)
        role = roles[:, 2:]
        weights = (role == ANSWER) + options.user_weight * (role == USER)
        learnt = weights > 0
        subset = choose_subset(
            self.frequent, batch.tokens, options.random_tokens, target.vocab_size, generator
        ).to(device)
        features = batch.features.to(device)
        truth = rows_of(target.output_head, subset.ids)
        targets = make_targets(truth, subset, features[:, 1:-1][learnt], options.soft_share)
        with torch.no_grad():
            embeddings = target.embed_tokens(tokens[:, 1:-1])
        inputs = batch.inputs[:, :-2].to(device).float()
        if options.noise:
            noise = torch.rand(inputs.shape, generator=generator).to(device) * 2 - 1
            inputs = inputs + options.noise * self.input_scale.to(device) * noise
        total, norm = inputs.new_zeros(()), 0.0
        position = torch.arange(role.shape[1], device=device).expand_as(role)[learnt]
        feature_weight = options.feature_weight if self.architecture.predicts_features else 0.0
        dropout = _dropout(options.dropout, generator) if options.dropout else None
        with torch.autocast(device.type, torch.bfloat16, enabled=target.dtype == torch.bfloat16):
            rows = self.architecture.output_rows(self.head, target, subset.ids)
            unrolled = self.architecture.unroll(self.head, embeddings.float(), inputs, depths, dropout)
            for depth, predicted in enumerate(unrolled):
                reached = weights[learnt] * (position >= depth)
                total = total + options.depth_decay**depth * head_loss(
                    predicted[learnt], rows, targets, reached, self.feature_scale, feature_weight
                )
                norm += options.depth_decay**depth
        return total / norm


def rate(progress: float) -> float:
    """Learning rate as a share of its peak: linear warm-up, then a cosine."""
    if progress < _WARMUP_SHARE:
        return (progress + 1e-3) / (_WARMUP_SHARE + 1e-3)
    along = (progress - _WARMUP_SHARE) / (1 - _WARMUP_SHARE)
    return _FINAL_RATE + (1 - _FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * along))


def _passes(step: int, total: int, times: int) -> bool:
    """Whether one of `times` even marks lies between the last step and this one."""
    return step * times // total > (step - 1) * times // total


@contextlib.contextmanager
def _without_checksums() -> Iterator[None]:
    """Save without checksums, which take longer than writing; a file that is in its place is whole."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in module.state_dict().items()}


def _dropout(share: float, generator: torch.Generator) -> Dropout:
    """Dropout that draws from the step's own generator: the global one would make resuming inexact."""

    def drop(x: Tensor) -> Tensor:
        kept = torch.rand(x.shape, generator=generator).to(x.device) >= share
        return x * kept / (1 - share)

    return drop

"""The trainer knows nothing of the layer that it trains: an Architecture is all that it asks for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from tiny_models import tiny_target
from torch import Tensor, nn

from specframe.model.target import Target
from specframe_plugins.training.architecture import Architecture, Dropout
from specframe_plugins.training.command import build_trainer
from specframe_plugins.training.features import TrainingData
from specframe_plugins.training.heldout import chain_acceptance
from specframe_plugins.training.options import TrainOptions
from specframe_plugins.training.shards import ShardSet
from specframe_plugins.training.statistics import read_statistics, split
from specframe_plugins.training.workers import GenerationJob, generate


class Linear(Architecture[nn.Linear]):
    """A stranger's: one matrix from embedding and feature to the next feature, and no attention."""

    drafter: ClassVar[str] = "linear"
    predicts_features: ClassVar[bool] = True

    def build(self, target: Target) -> nn.Linear:
        return nn.Linear(2 * target.hidden_size, target.hidden_size)

    def load(self, checkpoint: Path, target: Target) -> nn.Linear:
        head = self.build(target)
        head.load_state_dict(torch.load(checkpoint / "weights.pt"))
        return head

    def unroll(
        self, head: nn.Linear, embeddings: Tensor, features: Tensor, steps: int, dropout: Dropout | None
    ) -> Iterator[Tensor]:
        for _ in range(steps):
            predicted: Tensor = head(torch.cat((embeddings, features), dim=-1))
            yield predicted
            features = torch.cat((features[:, :1], predicted[:, :-1]), dim=1)

    def save(self, head: nn.Linear, folder: Path) -> None:
        folder.mkdir()
        torch.save(head.state_dict(), folder / "weights.pt")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    target, folder = tiny_target(), tmp_path_factory.mktemp("shards")
    job = GenerationJob(
        model="tiny",
        dtype="float32",
        device="cpu",
        folder=folder,
        seed=0,
        rows=16,
        workers=1,
        max_request=8,
        max_answer=16,
        max_length=60,
    )
    generate(job, target, 2500, lambda have: None)
    return TrainingData(ShardSet.open(folder), target)


def test_a_strangers_layer_is_trained_stored_and_gone_on_with(data: TrainingData, tmp_path: Path) -> None:
    architecture = Linear()
    training, held_out = split(data.shards)
    statistics = read_statistics(data, training)
    options = TrainOptions(epochs=5, batch_tokens=200, frequent_tokens=40, random_tokens=8, patience=0)
    trainer = build_trainer(options, architecture, data, training, statistics, tmp_path / "state.pt")
    trainer.run(lambda loss: None)
    tenth = len(trainer.losses) // 10
    first, last = ([loss for _, loss in part] for part in (trainer.losses[:tenth], trainer.losses[-tenth:]))
    assert sum(last) < 0.9 * sum(first)
    head = trainer.finished_head()
    assert chain_acceptance(architecture, head, data, held_out, 2).starts > 0
    assert architecture.induction_groups(head) == 0
    architecture.save(head, tmp_path / "head")
    again = architecture.load(tmp_path / "head", data.target)
    assert torch.equal(again.weight, head.weight)

import itertools
import math
import random
import sys
from itertools import pairwise
from pathlib import Path

import attrs
import pytest
import torch
from tiny_models import tiny_target

from specframe.errors import UsageError
from specframe_plugins.drafters.eagle.architecture import EagleArchitecture
from specframe_plugins.drafters.eagle.induction import with_induction
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.training.features import TrainingData
from specframe_plugins.training.heldout import chain_acceptance
from specframe_plugins.training.options import TrainOptions
from specframe_plugins.training.shards import ShardSet
from specframe_plugins.training.statistics import read_statistics, split
from specframe_plugins.training.trainer import Trainer, rate
from specframe_plugins.training.workers import GenerationJob, generate

OPTIONS = TrainOptions(
    epochs=3,
    batch_tokens=200,
    learning_rate=3e-3,
    weight_decay=0.01,
    unroll_steps=3,
    unroll_share=0.4,
    depth_decay=0.8,
    random_tokens=8,
    soft_share=0.5,
    feature_weight=1.0,
    user_weight=0.5,
    noise=0.1,
    dropout=0.1,
    ema=0.9,
    evaluations=4,
    patience=0,
    seed=0,
)


@pytest.fixture(scope="module")
def target():
    return tiny_target()


@pytest.fixture(scope="module")
def shards(target, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    job = GenerationJob(
        model="tiny",
        dtype="float32",
        device="cpu",
        folder=folder,
        seed=0,
        rows=16,
        workers=1,
        max_request=8,
        max_answer=24,
        max_length=64,
    )
    generate(job, target, 3000, lambda have: None)
    return ShardSet.open(folder)


def head_for(target, induction_groups=1):
    torch.manual_seed(0)
    return with_induction(EagleHead(EagleConfig.for_target(target.config)), induction_groups)


def trainer_for(target, shards, path, options=OPTIONS, evaluate=None, induction_groups=1):
    numbers, _ = split(shards)
    data = TrainingData(shards, target)
    statistics = read_statistics(data, numbers)
    return Trainer(
        architecture=EagleArchitecture(),
        head=head_for(target, induction_groups),
        data=data,
        numbers=numbers,
        frequent=statistics.frequent(40),
        feature_scale=statistics.feature_scale,
        input_scale=statistics.input_scale,
        options=options,
        state_path=path,
        evaluate=evaluate,
    )


def test_training_goes_on_exactly_where_it_was_interrupted(target, shards, tmp_path):
    whole = trainer_for(target, shards, tmp_path / "whole.pt")
    whole.run(lambda loss: None)

    first = trainer_for(target, shards, tmp_path / "parts.pt")

    def interrupt(loss):
        if first.step == whole.total_steps * 2 // 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.run(interrupt)
    second = trainer_for(target, shards, tmp_path / "parts.pt")
    assert second.step == first.step > 0
    second.run(lambda loss: None)
    assert second.step == whole.step == whole.total_steps
    assert second.tokens_done == second.total_tokens
    for left, right in zip(whole.head.parameters(), second.head.parameters(), strict=True):
        assert torch.equal(left, right)


def test_an_interrupt_in_the_middle_of_an_update_keeps_the_last_whole_state(
    target, shards, tmp_path, monkeypatch
):
    trainer = trainer_for(target, shards, tmp_path / "state.pt")
    update = trainer._optimizer.step

    def interrupted():
        update()
        if trainer.step == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer._optimizer, "step", interrupted)
    # On a busy machine saving is cheap beside a batch, and every batch would be saved.
    monkeypatch.setattr("specframe_plugins.training.trainer._SAVING_SHARE", 1e-9)

    def save_at_five(loss):
        if trainer.step == 5:
            trainer.save()

    with pytest.raises(KeyboardInterrupt):
        trainer.run(save_at_five)
    again = trainer_for(target, shards, tmp_path / "state.pt")
    assert again.step == 5
    assert all(torch.isfinite(parameter).all() for parameter in again.head.parameters())


@pytest.mark.parametrize("moment", range(10))
def test_a_training_that_is_killed_at_any_moment_loses_at_most_the_batch(target, shards, tmp_path, moment):
    class Killed(BaseException):
        pass

    def evaluate(head):
        return next(head.parameters()).abs().sum().item()

    rng = random.Random(moment)
    path = tmp_path / "state.pt"
    options = attrs.evolve(OPTIONS, epochs=1)
    whole = trainer_for(target, shards, tmp_path / "whole.pt", options, evaluate)
    whole.run(lambda loss: None)
    victim = trainer_for(target, shards, path, options, evaluate)
    step, place = rng.randrange(1, whole.total_steps), rng.choice(["before", "update", "write", "save"])
    update, write, replace = victim._optimizer.step, torch.save, Path.replace

    def dying_update():
        if place == "update" and victim.step == step:
            raise Killed
        update()

    def dying_write(state, file):
        if place == "write" and victim.step > step:
            file.write(b"half a state")
            raise Killed
        write(state, file)

    def dying_replace(self, to):
        if place == "save" and victim.step > step:
            raise Killed
        return replace(self, to)

    def dying_report(loss):
        if place == "before" and victim.step > step:
            raise Killed

    victim._optimizer.step = dying_update
    # A killed process saves nothing on its way out.
    with pytest.MonkeyPatch.context() as patch:
        # As if saving took no time beside a batch, which on a real head it nearly does.
        patch.setattr("specframe_plugins.training.trainer._SAVING_SHARE", float("inf"))
        patch.setattr(torch, "save", dying_write)
        patch.setattr(Path, "replace", dying_replace)
        save = victim.save
        patch.setattr(Trainer, "save", lambda self: None if sys.exc_info()[0] else save())
        with pytest.raises(Killed):
            victim.run(dying_report)
    second = trainer_for(target, shards, path, options, evaluate)
    assert second.step >= step - 1
    second.run(lambda loss: None)
    assert second.losses == whole.losses
    assert second.evaluations == whole.evaluations
    for left, right in zip(
        whole.finished_head().parameters(), second.finished_head().parameters(), strict=True
    ):
        assert torch.equal(left, right)


def test_the_state_is_written_over_the_one_before_the_last(target, shards, tmp_path):
    path = tmp_path / "state.pt"
    trainer = trainer_for(target, shards, path)
    files = set()
    for step in range(6):
        trainer.step = step
        trainer.save()
        files.add(path.stat().st_ino)
        assert trainer_for(target, shards, path).step == step
    assert len(files) == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["state.partial", "state.pt"]


def test_training_ends_when_nothing_gets_better(target, shards, tmp_path):
    measured = iter([1.0, 1.5, 1.2, 1.4, 1.3, 9.0])
    weights = []

    def evaluate(head):
        weights.append(next(head.parameters()).detach().clone())
        return next(measured)

    options = attrs.evolve(OPTIONS, evaluations=10, patience=3, ema=0.0)
    trainer = trainer_for(target, shards, tmp_path / "state.pt", options, evaluate)
    trainer.run(lambda loss: None)
    assert [found.tau for found in trainer.evaluations] == [1.0, 1.5, 1.2, 1.4, 1.3]
    assert trainer.step < trainer.total_steps
    assert torch.equal(next(trainer.finished_head().parameters()), weights[1])


def test_the_average_follows_the_weights(target, shards, tmp_path):
    trainer = trainer_for(target, shards, tmp_path / "state.pt", attrs.evolve(OPTIONS, ema=0.5))
    name = "fc.weight"
    trail = []
    trainer.run(lambda loss: trail.append(trainer.head.state_dict()[name].clone()))
    average = trail[0].clone()
    for step, weight in enumerate(trail, start=1):
        average.lerp_(weight, 1 - min(0.5, step / (10 + step)))
    # Before the first step, the average is the start, and the first step counts 10 of 11 parts.
    torch.testing.assert_close(trainer.finished_head().state_dict()[name], average, rtol=1e-3, atol=1e-3)


def test_weights_of_the_loss_change_what_is_learnt(target, shards, tmp_path):
    def loss_with(**changes):
        trainer = trainer_for(target, shards, tmp_path / "none.pt", attrs.evolve(OPTIONS, **changes))
        (batch,) = itertools.islice(trainer._batches(), 1)
        return trainer.loss(batch, 3, torch.Generator().manual_seed(0)).item()

    plain = loss_with()
    for change in (
        {"soft_share": 0.9},
        {"feature_weight": 0.2},
        {"user_weight": 0.0},
        {"depth_decay": 0.1},
        {"dropout": 0.0},
    ):
        assert abs(loss_with(**change) - plain) > 1e-4


def test_other_settings_are_refused(target, shards, tmp_path):
    trainer_for(target, shards, tmp_path / "state.pt").save()
    changed = attrs.evolve(OPTIONS, learning_rate=1e-4)
    with pytest.raises(UsageError, match=r"learning_rate 0\.003, not 0\.0001"):
        trainer_for(target, shards, tmp_path / "state.pt", changed)


def test_a_head_of_another_size_is_refused(target, shards, tmp_path):
    trainer_for(target, shards, tmp_path / "state.pt").save()
    with pytest.raises(UsageError, match=r"parameters \d+, not \d+"):
        trainer_for(target, shards, tmp_path / "state.pt", induction_groups=2)


def test_queries_and_keys_of_induction_heads_stay_what_they_begin_as_for_a_fifth(target, shards, tmp_path):
    trainer = trainer_for(target, shards, tmp_path / "state.pt", attrs.evolve(OPTIONS, weight_decay=0.0))
    rows = trainer.head.attention.head_dim
    begin = trainer.head.attention.k_proj.weight[-rows:].detach().clone()
    moved = []

    def compare(loss):
        moved.append(not torch.equal(trainer.head.attention.k_proj.weight[-rows:], begin))

    trainer.run(compare)
    assert moved.index(True) == math.ceil(0.2 * trainer.total_steps)


def test_training_makes_the_head_draft_better(target, shards, tmp_path):
    trainer = trainer_for(target, shards, tmp_path / "state.pt", attrs.evolve(OPTIONS, epochs=8))
    numbers, held_out = split(shards)

    def acceptance(which):
        return chain_acceptance(trainer.architecture, trainer.head, trainer.data, which, 3)

    before = acceptance(numbers)
    losses = []
    trainer.run(losses.append)
    after = acceptance(numbers)
    tenth = len(losses) // 10
    assert sum(losses[-tenth:]) < 0.7 * sum(losses[:tenth])
    assert after.by_depth[0] > before.by_depth[0] + 0.2
    assert acceptance(held_out).starts > 0


def test_the_rate_warms_up_and_falls():
    values = [rate(step / 1000) for step in range(1000)]
    assert max(values) == pytest.approx(1.0, abs=1e-3)
    assert values[0] < 0.1
    assert values[-1] < 0.05
    assert all(late <= early for early, late in pairwise(values[40:]))

import os
import subprocess
import sys
import time

import pytest
import torch
from tiny_models import tiny_model, tiny_target, tiny_tokenizer

from specframe.errors import CheckpointError, SpecframeError, UsageError
from specframe.registry.components import TrainRequest
from specframe_plugins.training.batches import collate, load_batches, plan_epoch
from specframe_plugins.training.data import TokenData
from specframe_plugins.training.features import TrainingData, keep_features
from specframe_plugins.training.options import TrainOptions
from specframe_plugins.training.shards import (
    ANSWER,
    FORCED,
    Sequence,
    ShardSet,
    ShardWriter,
    check_data_folder,
    shard_paths,
)
from specframe_plugins.training.workers import GenerationJob, generate


def job_in(folder, **changes):
    settings = {
        "model": "tiny",
        "dtype": "float32",
        "device": "cpu",
        "folder": folder,
        "seed": 0,
        "rows": 4,
        "workers": 1,
        "max_request": 8,
        "max_answer": 12,
        "max_length": 40,
        "tokens_per_shard": 60,
    }
    return GenerationJob(**{**settings, **changes})


def by_index(folder):
    shards = ShardSet.open(folder)
    assert len(set(shards.indices)) == len(shards.indices)
    return {sequence.index: sequence for sequence in shards}


def sequence_of(index, length, vocab_size=101):
    generator = torch.Generator().manual_seed(index)
    return Sequence(
        index=index,
        tokens=torch.randint(vocab_size, (length,), generator=generator, dtype=torch.int32),
        roles=torch.full((length,), ANSWER, dtype=torch.uint8),
        features=torch.randn(length, 8, generator=generator).to(torch.bfloat16),
    )


def writer_in(folder, vocab_size=101, **settings):
    settings = {"tokens_per_shard": 10**6, "metadata": {"seed": "0"}, **settings}
    return ShardWriter(folder, 0, vocab_size=vocab_size, **settings)


@pytest.mark.parametrize("vocab_size", [101, 70_000])
@pytest.mark.parametrize("keep_features", [True, False])
def test_shards_give_back_what_was_written(tmp_path, vocab_size, keep_features):
    writer = writer_in(tmp_path, vocab_size, tokens_per_shard=20, keep_features=keep_features)
    written = [sequence_of(index, 5 + index, vocab_size) for index in range(6)]
    for sequence in written:
        writer.add(sequence)
    writer.close()
    (tmp_path / "shard-00-00000099.partial123").write_bytes(b"half a shard")  # of a process that was killed
    shards = ShardSet.open(tmp_path)
    assert len(shards.shards) > 1
    assert sorted(shards.only({"seed": "0"}).indices) == list(range(6))
    assert len(shards.only({"seed": "1"})) == 0
    assert shards.token_count == sum(len(sequence.tokens) for sequence in written)
    for left, right in zip(written, shards, strict=True):
        assert left.index == right.index
        assert torch.equal(left.tokens, right.tokens)
        assert torch.equal(left.roles, right.roles)
        assert torch.equal(left.features, right.features) if keep_features else right.features is None


@pytest.mark.parametrize(("vocab_size", "width"), [(65_536, 2), (65_537, 4)])
def test_a_token_takes_no_more_bytes_than_its_vocabulary_needs(tmp_path, vocab_size, width):
    writer = writer_in(tmp_path, vocab_size)
    writer.add(sequence_of(0, 20_000, vocab_size))
    writer.close()
    (path,) = shard_paths(tmp_path)
    assert 20_000 * width < path.stat().st_size < 20_000 * width + 1000


def test_a_damaged_shard_is_refused_in_one_line(tmp_path):
    writer = writer_in(tmp_path)
    writer.add(sequence_of(0, 50))
    writer.close()
    (path,) = shard_paths(tmp_path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(CheckpointError, match="damaged") as caught:
        ShardSet.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_features_that_were_not_kept_are_computed_again(tmp_path):
    target = tiny_target()
    generate(job_in(tmp_path / "kept", keep_features=True), target, 300, lambda have: None)
    generate(job_in(tmp_path / "bare"), target, 300, lambda have: None)
    kept, bare = (ShardSet.open(tmp_path / name) for name in ("kept", "bare"))
    assert all(sequence.features is None for sequence in bare)
    numbers = list(range(len(kept)))
    computed = TrainingData(bare, target).load(numbers)
    for left, right in zip(TrainingData(kept, target).load(numbers), computed, strict=True):
        torch.testing.assert_close(left.features, right.features, rtol=1e-4, atol=1e-4)
    done = []
    keep_features(bare, target, done.append)
    assert done[-1] == bare.token_count
    for left, right in zip(computed, ShardSet.open(tmp_path / "bare"), strict=True):
        torch.testing.assert_close(left.features, right.features, rtol=1e-4, atol=1e-4)


def test_interrupted_generation_goes_on_without_loss_or_duplicates(tmp_path):
    target = tiny_target()
    generate(job_in(tmp_path / "whole"), target, 600, lambda have: None)

    def interrupt(have):
        if have > 250:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(job_in(tmp_path / "parts"), target, 600, interrupt)
    first = by_index(tmp_path / "parts")
    generate(job_in(tmp_path / "parts"), target, 600, lambda have: None)
    parts, whole = by_index(tmp_path / "parts"), by_index(tmp_path / "whole")
    assert first.keys() < parts.keys()
    assert sum(len(sequence.tokens) for sequence in parts.values()) >= 600
    for index in parts.keys() & whole.keys():
        assert torch.equal(parts[index].tokens, whole[index].tokens)


def test_a_lost_shard_is_made_again(tmp_path):
    target = tiny_target()
    generate(job_in(tmp_path), target, 500, lambda have: None)
    before = by_index(tmp_path)
    lost = shard_paths(tmp_path)[1]
    lost.unlink()
    kept = by_index(tmp_path)
    generate(job_in(tmp_path), target, 900, lambda have: None)
    after = by_index(tmp_path)
    assert before.keys() - kept.keys() <= after.keys()
    for index in before:
        assert torch.equal(before[index].tokens, after[index].tokens)


def test_enough_data_generates_nothing(tmp_path):
    target = tiny_target()
    generate(job_in(tmp_path), target, 200, lambda have: None)
    before = by_index(tmp_path).keys()
    generate(job_in(tmp_path), target, 200, lambda have: None)
    assert by_index(tmp_path).keys() == before


@pytest.mark.parametrize("change", [{"seed": 1}, {"max_answer": 13}])
def test_data_of_other_settings_is_kept_and_topped_up(tmp_path, change):
    target = tiny_target()
    generate(job_in(tmp_path), target, 100, lambda have: None)
    before = ShardSet.open(tmp_path).token_count
    changed = job_in(tmp_path, **change)
    generate(changed, target, before + 100, lambda have: None)
    shards = ShardSet.open(tmp_path)
    assert shards.token_count >= before + 100
    # Numbers start anew: other settings make other conversations.
    assert 0 in shards.only(changed.metadata(target)).indices
    assert 0 in shards.only(job_in(tmp_path).metadata(target)).indices


def test_data_of_another_target_is_refused(tmp_path):
    generate(job_in(tmp_path), tiny_target(), 100, lambda have: None)
    with pytest.raises(UsageError, match="target_fingerprint"):
        generate(job_in(tmp_path), tiny_target(seed=1), 200, lambda have: None)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def start_generating(model_dir, folder, workers):
    """Generates without end, in a process group of its own."""
    script = (
        "import pathlib, sys, torch\n"
        "from specframe.model.loading import load_pretrained\n"
        "from specframe.model.target import Target\n"
        "from specframe_plugins.training.workers import GenerationJob, generate\n"
        "if __name__ == '__main__':\n"
        "    torch.set_num_threads(1)\n"
        "    target = Target(load_pretrained(sys.argv[1], torch.float32))\n"
        "    job = GenerationJob(model=sys.argv[1], dtype='float32', device='cpu',\n"
        "        folder=pathlib.Path(sys.argv[2]), seed=0, rows=4, workers=int(sys.argv[3]),\n"
        "        max_request=8, max_answer=12, max_length=40, tokens_per_shard=60)\n"
        "    generate(job, target, 10**9, lambda have: None)\n"
    )
    arguments = [str(model_dir), str(folder), str(workers)]
    return subprocess.Popen(
        [sys.executable, "-P", "-c", script, *arguments], start_new_session=True, stderr=subprocess.DEVNULL
    )


def group_alive(number):
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for_shards(folder, count):
    deadline = time.monotonic() + 120
    while len(list(folder.glob("shard-*.safetensors"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_processes_make_disjoint_conversations(tmp_path, model_dir):
    target = tiny_target()
    generate(job_in(tmp_path, model=str(model_dir), workers=2), target, 800, lambda have: None)
    found = by_index(tmp_path)
    assert {index % 2 for index in found} == {0, 1}
    generate(job_in(tmp_path / "alone"), target, 400, lambda have: None)
    for index, sequence in by_index(tmp_path / "alone").items():
        if index in found:
            assert torch.equal(found[index].tokens, sequence.tokens)


def test_workers_end_with_a_parent_that_is_killed(tmp_path, model_dir):
    folder = tmp_path / "shards"
    with start_generating(model_dir, folder, workers=2) as process:
        wait_for_shards(folder, 2)
        process.kill()
    deadline = time.monotonic() + 60
    while group_alive(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(by_index(folder)) > 2


def test_workers_end_with_a_parent_that_is_killed_before_they_begin(tmp_path, model_dir):
    folder = tmp_path / "shards"
    with start_generating(model_dir, folder, workers=2) as process:
        deadline = time.monotonic() + 120
        while not folder.exists():  # made right before the workers are started
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.5)
        process.kill()
    deadline = time.monotonic() + 60
    while group_alive(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_worker_that_fails_is_reported_in_one_line(tmp_path):
    with pytest.raises(SpecframeError, match="generation failed") as caught:
        generate(job_in(tmp_path, model="/no/such.gguf", workers=2), tiny_target(), 800, lambda have: None)
    assert "\n" not in str(caught.value)


def test_a_killed_process_loses_only_what_it_was_writing(tmp_path, model_dir):
    folder = tmp_path / "shards"
    with start_generating(model_dir, folder, workers=1) as process:
        wait_for_shards(folder, 4)
        process.kill()
    before = by_index(folder)
    assert len(before) > 4
    # The same target as the dead process had, from the folder.
    target = tiny_target()
    enough = sum(len(sequence.tokens) for sequence in before.values()) + 300
    generate(job_in(folder), target, enough, lambda have: None)
    after = by_index(folder)
    assert before.keys() < after.keys()
    # Nothing below what was open at the time is missing.
    assert set(range(max(before) - 8)) <= after.keys()


def test_batches_hold_every_conversation_once():
    lengths = {number: 3 + number % 17 for number in range(50)}
    plan = plan_epoch(lengths, batch_tokens=64, seed=0, epoch=0)
    assert sorted(number for batch in plan for number in batch) == sorted(lengths)
    assert all(len(batch) * max(lengths[number] for number in batch) <= 64 for batch in plan)
    assert plan == plan_epoch(lengths, batch_tokens=64, seed=0, epoch=0)
    assert plan != plan_epoch(lengths, batch_tokens=64, seed=0, epoch=1)


def test_padding_has_no_role(tmp_path):
    batch = collate([sequence_of(0, 4), sequence_of(1, 7)])
    assert batch.tokens.shape == (2, 7)
    assert batch.features.shape == (2, 7, 8)
    assert (batch.roles[0, 4:] == FORCED).all()
    writer = writer_in(tmp_path, keep_features=True)
    for index in range(3):
        writer.add(sequence_of(index, 4))
    writer.close()
    (last,) = load_batches(TrainingData(ShardSet.open(tmp_path), tiny_target()), [[0], [2, 1]], start=1)
    assert last.tokens.shape == (2, 4)


def test_a_folder_of_something_else_gets_no_data(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="data holds something else than conversations"):
        TokenData().merge(tmp_path / "data", [tmp_path / "source"])
    request = TrainRequest(model="no such model", out=tmp_path / "data", options=TrainOptions())
    with pytest.raises(UsageError, match="data holds something else than conversations"):
        TokenData().top_up(request)


def test_what_a_killed_process_left_is_no_data_of_something_else(tmp_path):
    (tmp_path / "shard-00-00000099.partial123").write_bytes(b"half a shard")
    (tmp_path / "generation_s").write_text("1.0")
    check_data_folder(tmp_path)

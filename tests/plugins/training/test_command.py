import contextlib
import errno
import itertools
import json
import math
import os
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_models import tiny_target, tiny_tokenizer
from tiny_training import SETTINGS, save_target, save_tasks

from specframe.bench.configurations import parse_configurations
from specframe.contracts.options import build_options
from specframe.errors import CheckpointError, SpecframeError, UsageError
from specframe.registry.components import TrainRequest
from specframe.vocabulary.token_maps.reading import read_map
from specframe_plugins.drafters.components.eagle3 import Eagle3TrainOptions
from specframe_plugins.drafters.eagle.architecture import train
from specframe_plugins.drafters.eagle.checkpoint import load_head
from specframe_plugins.drafters.eagle3.architecture import train as train_eagle3
from specframe_plugins.training.command import FREQUENCIES
from specframe_plugins.training.curves import CURVES_JSON, CURVES_PNG, write_curves
from specframe_plugins.training.data import TokenData
from specframe_plugins.training.decoding import SHAPES
from specframe_plugins.training.options import TrainOptions
from specframe_plugins.training.shards import ShardSet
from specframe_plugins.training.trainer import Trainer


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return save_target(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return save_tasks(tmp_path_factory.mktemp("tasks") / "tasks.jsonl", ["task0", "task1"] * 2)


def options(**changes):
    return TrainOptions(**{**SETTINGS, **changes})


@pytest.fixture(scope="module")
def trained(model_dir, tasks, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "head"
    train(TrainRequest(model=str(model_dir), out=out, options=options(heldout_tasks=tasks)))
    return out


def test_training_writes_a_checkpoint_that_loads(trained):
    head = load_head(trained, tiny_target())
    assert all(torch.isfinite(parameter).all() for parameter in head.parameters())
    assert head.config.tokenizer_fingerprint == tiny_target().tokenizer_fingerprint


def test_the_frequencies_are_those_of_the_text(trained):
    frequencies = read_map(trained / FREQUENCIES, tiny_target())
    record = json.loads((trained / "training.json").read_text())
    assert int(frequencies.counts.sum()) == record["written_tokens"]


def test_the_report_has_chain_and_tree_for_every_kind_of_prompt(trained):
    record = json.loads((trained / "training.json").read_text())
    rows = {(row["shape"], row["task"]): row for row in record["drafting"]}
    kinds = ("held-out conversations", "task0", "task1", "held-out prompts")
    assert set(rows) == {(shape, kind) for shape in SHAPES for kind in kinds}
    for row in rows.values():
        assert math.isclose(row["tau"], 1 + sum(row["accept_by_depth"]), abs_tol=0.1)
    card = (trained / "README.md").read_text()
    assert record["command"] in card
    assert "chain of 3" in card


def test_the_card_says_how_to_measure_every_shape_again(trained):
    command = shlex.split((trained / "README.md").read_text().split("specframe bench ")[1].split("```")[0])
    strategies = [text for flag, text in itertools.pairwise(command) if flag == "-s"]
    configurations = parse_configurations(strategies)
    assert [one.options.get("drafter", {}) for one in configurations] == [
        {name: str(value) for name, value in shape.items()} for shape in SHAPES.values()
    ]


def test_the_run_folder_has_settings_and_curves(trained):
    folder = trained.with_name("head.work")
    settings = json.loads((folder / "config.json").read_text())
    assert settings["seed"] == 0
    assert settings["tokens"] == 2500
    for place in (folder, trained):
        curves = json.loads((place / CURVES_JSON).read_text())
        assert len(curves["evaluations"]) == 10
        assert curves["loss"][-1]["step"] == curves["total_steps"]
        assert (place / CURVES_PNG).read_bytes().startswith(b"\x89PNG")


def test_the_best_measured_head_is_the_one_that_is_kept(trained):
    record = json.loads((trained / "training.json").read_text())
    best = max(found["tau"] for found in record["evaluations"])
    # Measured to depth 5 at the end: fewer starts, the same text.
    assert abs(1 + sum(record["real_prompts"]["by_depth"][:3]) - best) < 0.1


def test_a_training_starts_from_a_checkpoint(trained, model_dir, tmp_path):
    changes = {"start": trained, "data": trained.with_name("head.work") / "shards", "learning_rate": 0.0}
    train(TrainRequest(model=str(model_dir), out=tmp_path / "next", options=options(**changes)))
    for name, tensor in load_head(trained, tiny_target()).state_dict().items():
        assert torch.equal(tensor, load_head(tmp_path / "next", tiny_target()).state_dict()[name])


@pytest.mark.parametrize(("asked", "found"), [(None, 4), (0, 0)])
def test_a_fresh_head_has_induction_heads_unless_none_are_wanted(trained, model_dir, tmp_path, asked, found):
    settings = options(
        data=trained.with_name("head.work") / "shards", epochs=1, evaluations=0, induction_groups=asked
    )
    train(TrainRequest(model=str(model_dir), out=tmp_path / "next", options=settings))
    assert load_head(tmp_path / "next", tiny_target()).config.induction_groups == found
    assert f"induction\nheads: {found}." in (tmp_path / "next" / "README.md").read_text()


def test_the_card_does_not_claim_a_time_for_data_that_came_from_elsewhere(cli, trained, model_dir, tmp_path):
    data = tmp_path / "data"
    cli("train", "data", "merge", data, trained.with_name("head.work") / "shards")
    settings = options(data=data, epochs=1, evaluations=0)
    train(TrainRequest(model=str(model_dir), out=tmp_path / "next", options=settings))
    assert json.loads((tmp_path / "next" / "training.json").read_text())["generation_s"] is None
    assert "the data came from elsewhere" in (tmp_path / "next" / "README.md").read_text()
    assert "generation 0 min" in (trained / "README.md").read_text()


def test_requests_of_ones_own_are_answered(model_dir, tasks, tmp_path):
    request = TrainRequest(
        model=str(model_dir), out=tmp_path / "data", options=options(requests=tasks, tokens=600)
    )
    assert TokenData().top_up(request) >= 600
    tokenizer = tiny_tokenizer()
    shards = ShardSet.open(tmp_path / "data")
    texts = [tokenizer.decode(sequence.tokens) for sequence in shards]
    assert sum("w5 w9 w8" in text or "w8 w9 w8" in text for text in texts) > len(texts) // 10


def test_requests_that_all_are_too_long_are_refused(model_dir, tasks, tmp_path):
    request = TrainRequest(
        model=str(model_dir), out=tmp_path, options=options(requests=tasks, max_length=19, max_request=2)
    )
    with pytest.raises(UsageError, match="none of the requests"):
        TokenData().top_up(request)


def test_data_is_listed_merged_and_topped_up(cli, model_dir, tmp_path):
    common = ("--model", model_dir, "-o", "workers=1", "-o", "rows=4", "-o", "max_request=8")
    common = (*common, "-o", "max_answer=12", "-o", "max_length=40", "-o", "dtype=float32")
    first, second, both = (tmp_path / name for name in ("first", "second", "both"))
    assert cli("train", "data", "top-up", first, *common, "-o", "tokens=300").exit_code == 0
    assert cli("train", "data", "top-up", second, *common, "-o", "tokens=200", "-o", "seed=1").exit_code == 0
    before = ShardSet.open(first).token_count
    assert cli("train", "data", "top-up", first, *common, "-o", f"tokens={before + 100}").exit_code == 0
    assert ShardSet.open(first).token_count >= before + 100
    merged = cli("train", "data", "merge", both, first, second)
    total = ShardSet.open(first, second).token_count
    assert f"{total:,} tokens" in merged.out
    assert ShardSet.open(both).token_count == total
    assert len(ShardSet.open(both).shards) == 2
    # What is there already is not copied again.
    assert f"{total:,} tokens" in cli("train", "data", "merge", both, first).out
    listed = cli("train", "data", "list", both).out
    assert "seed=0" in listed
    assert "seed=1" in listed
    assert "100%" in listed


def test_a_smaller_share_of_the_data_is_part_of_a_larger_one(cli, trained, tmp_path):
    def taken(share):
        out = tmp_path / str(share)
        cli("train", "data", "merge", out, trained.with_name("head.work") / "shards", "--share", share)
        return set(ShardSet.open(out).indices)

    everything, half, quarter = taken(1.0), taken(0.5), taken(0.25)
    assert quarter < half < everything
    assert 0.3 < len(half) / len(everything) < 0.7


@pytest.mark.parametrize("share", ["0", "-0.1", "1.5", "nan"])
def test_a_share_that_is_none_is_refused_and_nothing_is_written(cli, trained, tmp_path, share):
    out = tmp_path / "part"
    refused = cli("train", "data", "merge", out, trained.with_name("head.work") / "shards", "--share", share)
    assert refused.exit_code == 2
    assert "allowed: above 0, at most 1" in refused.err
    assert not out.exists()


def test_data_of_two_targets_cannot_be_merged(cli, model_dir, tmp_path):
    other = save_target(tmp_path / "other", seed=1)
    for name, model in (("a", model_dir), ("b", other)):
        settings = options(tokens=100)
        TokenData().top_up(TrainRequest(model=str(model), out=tmp_path / name, options=settings))
    refused = cli("train", "data", "merge", tmp_path / "both", tmp_path / "a", tmp_path / "b")
    assert refused.exit_code == 2
    assert "target_fingerprint" in refused.err.splitlines()[-1]
    assert not (tmp_path / "both").exists()


def test_a_folder_without_data_is_refused(cli, tmp_path):
    assert "has no training data" in cli("train", "data", "list", tmp_path).complaint


def test_training_without_a_place_for_the_checkpoint_is_refused(cli):
    assert "Missing option '--out'" in cli("train").complaint


def test_a_second_run_changes_nothing(trained, model_dir):
    before = (trained / "model.safetensors").read_bytes()
    train(TrainRequest(model=str(model_dir), out=trained, options=options()))
    assert (trained / "model.safetensors").read_bytes() == before


def _notes(tmp_path):
    (tmp_path / "head").mkdir()
    (tmp_path / "head" / "notes.txt").write_text("mine")


def _model(tmp_path):
    save_target(tmp_path / "head")


def _file(tmp_path):
    (tmp_path / "head").write_text("mine")


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (_notes, "exists and holds no head of drafter 'eagle'; allowed: a new directory"),
        (_model, "exists and holds no head of drafter 'eagle'"),
        (_file, "head is a file; allowed: a new directory"),
    ],
)
def test_a_place_that_is_taken_is_refused_before_any_work(make, complaint, tmp_path):
    make(tmp_path)
    with pytest.raises(UsageError, match=complaint):
        train(TrainRequest(model="no such model", out=tmp_path / "head", options=options()))


@pytest.mark.parametrize(("out", "complaint"), [("/", "cannot go to /"), (".", "exists and holds no head")])
def test_a_place_without_a_name_is_one_line(out, complaint, tmp_path, monkeypatch):
    (tmp_path / "notes").write_text("mine")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=complaint):
        train(TrainRequest(model="no such model", out=Path(out), options=options()))


def test_a_place_below_a_file_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="file is a file; allowed: a new directory in a folder"):
        train(TrainRequest(model="no such model", out=tmp_path / "file" / "x", options=options()))


def test_data_that_are_not_there_are_refused_before_any_work(tmp_path):
    request = TrainRequest(
        model="no such model", out=tmp_path / "head", options=options(data=tmp_path / "tokns")
    )
    with pytest.raises(UsageError, match="tokns is no folder; allowed: one that exists"):
        train(request)
    (tmp_path / "tokns").mkdir()
    (tmp_path / "tokns" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="tokns holds something else than conversations"):
        train(request)


def test_a_head_of_another_kind_to_start_from_is_refused_before_any_work(trained, model_dir, tmp_path):
    request = TrainRequest(
        model=str(model_dir), out=tmp_path / "head", options=Eagle3TrainOptions(**SETTINGS, start=trained)
    )
    with pytest.raises(CheckpointError):
        train_eagle3(request)
    assert not (tmp_path / "head.work").exists()


def test_a_head_that_has_learnt_little_is_not_called_anothers(trained, model_dir, tmp_path, caplog):
    data = trained.with_name("head.work") / "shards"
    settings = options(data=data, epochs=1, evaluations=0, learning_rate=0.0)
    train(TrainRequest(model=str(model_dir), out=tmp_path / "weak", options=settings))
    assert "made for other weights" not in caplog.text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tokens": "0"}, "tokens"),
        ({"epochs": "many"}, "epochs"),
        ({"unroll_share": "2"}, "unroll_share"),
        ({"frequent_tokens": "0", "random_tokens": "0"}, "both 0"),
        ({"heldout_tasks": "/no/such/file"}, "heldout_tasks"),
        ({"tokns": "5"}, "did you mean 'tokens'"),
    ],
)
def test_bad_options_are_one_line(values, message):
    with pytest.raises(UsageError, match=message) as caught:
        build_options(TrainOptions, values, "the training of drafter 'eagle'")
    assert "\n" not in str(caught.value)


def test_a_task_file_of_another_form_is_refused(tmp_path, model_dir, trained):
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"question": "w5"}\n')
    with pytest.raises(UsageError, match="no known format"):
        train(TrainRequest(model=str(model_dir), out=trained, options=options(heldout_tasks=path)))


def test_an_interrupted_training_says_that_it_goes_on(model_dir, trained, tmp_path, capsys, monkeypatch):
    """Its data are there already, so the first thing to interrupt is a step."""

    def interrupted(trainer, batch):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_train", interrupted)
    shards = trained.with_name("head.work") / "shards"
    with pytest.raises(KeyboardInterrupt):
        train(TrainRequest(model=str(model_dir), out=tmp_path / "other", options=options(data=shards)))
    said = capsys.readouterr().err
    assert re.search(
        r"specframe: interrupted after 0 of \d+ steps; the same command goes on from there", said
    )


def test_interrupted_data_say_that_they_go_on(model_dir, tmp_path, capsys, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("specframe_plugins.training.corpus.generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(TrainRequest(model=str(model_dir), out=tmp_path / "head", options=options()))
    said = "specframe: interrupted after 0 of 2,500 tokens; the same command goes on from there"
    assert said in capsys.readouterr().err


def test_curves_that_cannot_be_written_leave_those_before(tmp_path, monkeypatch):
    plain = SimpleNamespace(unroll_share=0.0, unroll_steps=1)
    trainer = SimpleNamespace(losses=[(1, 0.5)], evaluations=[], total_steps=1, options=plain)
    write_curves(trainer, tmp_path)
    before = (tmp_path / CURVES_JSON).read_text()
    monkeypatch.setattr(Path, "open", _half(Path.open))
    with pytest.raises(SpecframeError, match=r"cannot write .*No space left"):
        write_curves(trainer, tmp_path)
    assert (tmp_path / CURVES_JSON).read_text() == before


def _half(opened):
    """Return a way to open files that fails in the middle of writing."""

    def open_(path, mode="r", *arguments, **settings):
        file = opened(path, mode, *arguments, **settings)
        if "w" not in mode:
            return file
        full = SimpleNamespace(write=lambda content: (file.write(content[: len(content) // 2]), fail()))

        def fail():
            file.close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return contextlib.nullcontext(full)

    return open_

import json
import math

import pytest
import torch
from tiny_models import tiny_model, tiny_target, tiny_tokenizer

from specframe.components import TrainRequest
from specframe.errors import UsageError
from specframe.options import build_options
from specframe_plugins.drafters.eagle.checkpoint import load_head
from specframe_plugins.drafters.eagle.training.command import FREQUENCIES, train
from specframe_plugins.drafters.eagle.training.options import TrainOptions
from specframe_plugins.drafters.eagle.training.progress import ProgressLine
from specframe_plugins.vocabularies.frequencies import read_frequencies


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    path = tmp_path_factory.mktemp("tasks") / "tasks.jsonl"
    lines = [{"id": str(n), "task": f"task{n % 2}", "turns": [f"w{n + 5} w9 w8"]} for n in range(4)]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


def options(**changes):
    settings = {
        "tokens": 2500,
        "workers": 1,
        "rows": 8,
        "max_request": 8,
        "max_answer": 16,
        "max_length": 60,
        "dtype": "float32",
        "epochs": 2,
        "batch_tokens": 200,
        "frequent_tokens": 40,
        "random_tokens": 8,
        "heldout_prompts": 2,
    }
    return TrainOptions(**{**settings, **changes})


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
    frequencies = read_frequencies(trained / FREQUENCIES, tiny_target())
    record = json.loads((trained / "training.json").read_text())
    assert int(frequencies.counts.sum()) == record["written_tokens"]


def test_the_report_has_chain_and_tree_for_every_kind_of_prompt(trained):
    record = json.loads((trained / "training.json").read_text())
    rows = {(row["shape"], row["task"]): row for row in record["drafting"]}
    kinds = ("held-out conversations", "task0", "task1", "all")
    assert set(rows) == {(shape, kind) for shape in ("chain of 3", "default tree") for kind in kinds}
    for row in rows.values():
        assert math.isclose(row["tau"], 1 + sum(row["accept_by_depth"]), abs_tol=0.1)
    card = (trained / "README.md").read_text()
    assert record["command"] in card
    assert "chain of 3" in card


def test_a_second_run_changes_nothing(trained, model_dir):
    before = (trained / "model.safetensors").read_bytes()
    train(TrainRequest(model=str(model_dir), out=trained, options=options()))
    assert (trained / "model.safetensors").read_bytes() == before


def test_a_place_that_is_taken_is_refused_before_any_work(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is no checkpoint"):
        train(TrainRequest(model="no such model", out=tmp_path, options=options()))


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
    with pytest.raises(UsageError, match="task and turns"):
        train(TrainRequest(model=str(model_dir), out=trained, options=options(heldout_tasks=path)))


def test_progress_without_a_terminal_is_plain_lines(capsys, monkeypatch):
    monkeypatch.setattr("specframe_plugins.drafters.eagle.training.progress._LINE_EVERY_S", 0.0)
    with ProgressLine("train", 1000, start=500) as progress:
        progress.update(750, "loss 1.000")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("train: 750 of 1,000 tokens, ")
    assert lines[0].endswith("loss 1.000")
    assert "min left" in lines[0]

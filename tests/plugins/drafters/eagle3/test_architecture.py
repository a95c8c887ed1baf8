"""An EAGLE-3 head is trained on the same data as an EAGLE-2 head, and drafts what its training computed."""

import json

import pytest
import torch
from tiny_models import tiny_target
from tiny_training import SETTINGS, save_target, save_tasks

from specframe.errors import UsageError
from specframe.registry.components import TrainRequest
from specframe_plugins.drafters.components.eagle3 import Eagle3TrainOptions
from specframe_plugins.drafters.eagle.induction import with_induction
from specframe_plugins.drafters.eagle.unroll import unroll
from specframe_plugins.drafters.eagle3.architecture import train
from specframe_plugins.drafters.eagle3.checkpoint import load_head
from specframe_plugins.drafters.eagle3.model import Eagle3Head, default_feature_layers, for_target
from specframe_plugins.training.command import FREQUENCIES
from specframe_plugins.training.features import TrainingData, keep_features
from specframe_plugins.training.shards import ShardSet, features_path
from specframe_plugins.training.workers import GenerationJob, generate

LAYERS = 6


@pytest.fixture(scope="module")
def target():
    return tiny_target(num_hidden_layers=LAYERS)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return save_target(tmp_path_factory.mktemp("tiny"), num_hidden_layers=LAYERS)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return save_tasks(tmp_path_factory.mktemp("tasks") / "tasks.jsonl", ["task", "task"])


def options(**changes):
    return Eagle3TrainOptions(**{**SETTINGS, **changes})


@pytest.fixture(scope="module", params=["target", "own"])
def lm_head(request):
    return request.param


@pytest.fixture(scope="module")
def trained(model_dir, tasks, tmp_path_factory, lm_head):
    out = tmp_path_factory.mktemp("out") / "head"
    settings = options(heldout_tasks=tasks, lm_head=lm_head)
    train(TrainRequest(model=str(model_dir), out=out, options=settings))
    return out


def test_training_writes_a_checkpoint_that_loads(trained, target, lm_head):
    head = load_head(trained, target).head
    assert all(torch.isfinite(parameter).all() for parameter in head.parameters())
    assert head.config.tokenizer_fingerprint == target.tokenizer_fingerprint
    assert head.config.own_lm_head == (lm_head == "own")
    assert (trained / FREQUENCIES).exists()


def test_an_lm_head_of_its_own_is_trained(trained, target, lm_head):
    rows = load_head(trained, target).output_head(target).weight
    same = torch.equal(rows, target.output_head.weight)
    assert same == (lm_head == "target")


def test_the_loss_falls(trained):
    curves = json.loads((trained / "curves.json").read_text())
    losses = [point["loss"] for point in curves["loss"]]
    tenth = len(losses) // 10
    assert sum(losses[-tenth:]) < 0.9 * sum(losses[:tenth])


def test_decoding_with_the_head_is_part_of_the_report(trained):
    record = json.loads((trained / "training.json").read_text())
    shapes = {row["shape"] for row in record["drafting"]}
    assert shapes == {"chain of 3", "tree of 16 nodes", "default tree"}
    assert all(row["tau"] >= 1 for row in record["drafting"])


def test_a_training_starts_from_a_checkpoint(trained, model_dir, target, lm_head, tmp_path):
    changes = {"start": trained, "data": trained.with_name("head.work") / "shards", "learning_rate": 0.0}
    settings = options(**changes, lm_head=lm_head, epochs=1)
    train(TrainRequest(model=str(model_dir), out=tmp_path / "next", options=settings))
    again = load_head(tmp_path / "next", target).head.state_dict()
    for name, tensor in load_head(trained, target).head.state_dict().items():
        assert torch.equal(tensor, again[name])


def test_a_checkpoint_without_induction_heads_gets_them(trained, model_dir, target, lm_head, tmp_path):
    before = load_head(trained, target).head.config.induction_groups
    data = trained.with_name("head.work") / "shards"
    settings = options(
        start=trained, data=data, lm_head=lm_head, epochs=1, evaluations=0, induction_groups=before + 1
    )
    train(TrainRequest(model=str(model_dir), out=tmp_path / "next", options=settings))
    assert load_head(tmp_path / "next", target).head.config.induction_groups == before + 1


def test_a_training_from_a_checkpoint_of_another_kind_is_refused(trained, model_dir, lm_head, tmp_path):
    other = "own" if lm_head == "target" else "target"
    settings = options(start=trained, data=trained.with_name("head.work") / "shards", lm_head=other)
    with pytest.raises(UsageError, match=f"lm_head={lm_head}"):
        train(TrainRequest(model=str(model_dir), out=tmp_path / "next", options=settings))


@pytest.mark.parametrize("induction_groups", [0, 1])
def test_unrolling_computes_what_drafting_computes(target, induction_groups):
    torch.manual_seed(0)
    head = with_induction(Eagle3Head(for_target(target.config)), induction_groups)
    torch.nn.init.normal_(head.attention.o_proj.weight)
    length, steps = 9, 4
    embeddings = torch.randn(2, length, 64)
    with torch.no_grad():
        fused = head.fuse(torch.randn(2, length, head.config.feature_size))
        unrolled = list(unroll(head, embeddings, fused, steps))
        for start in range(length - steps + 1):
            own = fused[:, : start + 1]
            for depth in range(steps):
                stop = start + depth + 1
                positions = torch.arange(stop).expand(2, -1)
                out = head(embeddings[:, :stop], own, positions)[:, -1:]
                torch.testing.assert_close(
                    unrolled[depth][:, stop - 1 : stop], head.norm(out), rtol=1e-4, atol=1e-4
                )
                own = torch.cat((own, out), dim=1)


def test_features_of_layers_are_those_that_the_target_gives_a_drafter(target, tmp_path):
    layers = default_feature_layers(LAYERS)
    job = GenerationJob(
        model="tiny",
        dtype="float32",
        device="cpu",
        folder=tmp_path,
        seed=0,
        rows=8,
        workers=1,
        max_request=8,
        max_answer=16,
        max_length=60,
        keep_features=True,
    )
    generate(job, target, 300, lambda have: None)
    computed = TrainingData(ShardSet.open(tmp_path), target, layers).load([0])[0]
    target.begin(len(computed.tokens), feature_layers=layers)
    with torch.inference_mode():
        given = target.prefill(computed.tokens.long()).features
    torch.testing.assert_close(computed.layer_features, given, rtol=1e-4, atol=1e-4)
    keep_features(ShardSet.open(tmp_path, layers=layers), target, lambda done: None, layers)
    shards = ShardSet.open(tmp_path, layers=layers)
    assert all(features_path(shard.path, layers).exists() for shard in shards.shards)
    torch.testing.assert_close(shards[0].layer_features, computed.layer_features, rtol=1e-4, atol=1e-4)

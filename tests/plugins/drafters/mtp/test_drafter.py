"""The MTP drafter says what the checkpoint's layer says along every path, and never changes the output."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import VOCAB_SIZE, reference_greedy, tiny_tokenizer
from tiny_mtp import HIDDEN, KINDS, LAYERS, PlainMtp, save_with_mtp
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from specframe.config import RunConfig
from specframe.contracts.clock import PhaseClock
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.row_map import RowMap
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine.assembly import build_engine
from specframe.errors import CheckpointError
from specframe.model.loading import LoadedModel
from specframe.model.target import Target
from specframe.registry.components import DoctorRequest
from specframe.testing import ReferenceGather, check_drafter
from specframe.vocabulary.draft_head import DraftHead
from specframe_plugins.drafters.components.mtp import COMPONENT
from specframe_plugins.drafters.mtp.checkpoint import load
from specframe_plugins.drafters.mtp.drafter import MtpDrafter
from specframe_plugins.trees.shape import TreeShape

PROMPT = torch.tensor([5, 17, 42, 8, 33, 12, 70, 64, 21, 9, 11])
ROOT = 51
READ_BY_TREES = tuple(kind for kind in KINDS if kind != "qwen3-next")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """transformers reports the layers that it leaves out."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    yield
    transformers_logging.set_verbosity(before)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, PlainMtp]]:
    made: dict[str, tuple[Path, PlainMtp]] = {}

    def make(kind: str) -> tuple[Path, PlainMtp]:
        if kind not in made:
            folder = tmp_path_factory.mktemp("models") / kind
            folder.mkdir()
            made[kind] = folder, save_with_mtp(folder, kind)
        return made[kind]

    return make


def target_of(folder: Path) -> Any:
    """Return a target, or what the drafter asks of one where trees cannot be read by the model."""
    loaded = load_pretrained_anyway(folder)
    if not getattr(type(loaded.model), "_is_stateful", False):
        return Target(loaded)
    model = loaded.model
    return SimpleNamespace(
        model=model,
        name=str(folder),
        config=model.config,
        device=model.device,
        dtype=model.dtype,
        vocab_size=VOCAB_SIZE,
        hidden_size=HIDDEN,
        embed_tokens=model.get_input_embeddings(),
        output_head=OutputHead(model.lm_head.weight.detach()),
    )


def load_pretrained_anyway(folder: Path) -> LoadedModel:
    model = AutoModelForCausalLM.from_pretrained(folder).eval().requires_grad_(False)
    return LoadedModel(model, tiny_tokenizer(), str(folder))


def drafter_for(target: Any, checkpoint: Path | None = None) -> MtpDrafter:
    return MtpDrafter(load(checkpoint, target), TreeShape(depth=4, branching=3, nodes=12))


@torch.inference_mode()
def assert_says_what_the_layer_says(target: Any, plain: PlainMtp) -> None:
    """Compare two trees with plain runs of the layer: one after a prompt, one after an accepted path."""
    drafter = drafter_for(target)
    gather = DraftHead(ReferenceGather(), RowMap(VOCAB_SIZE))
    gather.bind(drafter.output_head, None)
    torch.manual_seed(1)
    features = torch.randn(len(PROMPT), HIDDEN)
    clock = PhaseClock()
    clock.start()
    drafter.start(PROMPT, features)
    text, root, committed = PROMPT.tolist(), ROOT, features[-1:]
    for _ in range(2):
        tree = drafter.draft(root, committed, gather, clock)
        paths = paths_of(tree)
        for node in range(1, len(tree)):
            states, above = features, paths[node][:-1]
            for drafted in range(len(above) + 1):
                ids = torch.tensor([*text[1:], root, *above[:drafted]])
                predicted = plain.predict(target.embed_tokens(ids), states)[-1:]
                states = torch.cat((states, predicted))
            log_probs = target.output_head.logits(predicted)[0].log_softmax(-1)
            torch.testing.assert_close(tree.log_probs[node], log_probs[paths[node][-1]], rtol=1e-3, atol=1e-3)
        deepest = max(range(len(tree)), key=lambda node: len(paths[node]))
        accepted = paths[deepest]
        assert len(accepted) > 1
        drafter.commit(Verdict(path_to(tree, deepest), tuple(accepted), 77, True))
        text, root = [*text, root, *accepted], 77
        committed = torch.randn(len(accepted) + 1, HIDDEN)
        features = torch.cat((features, committed))


def paths_of(tree: DraftTree) -> list[list[int]]:
    """Return the tokens of each node's path, the root left out."""
    paths: list[list[int]] = [[]]
    for token, parent in zip(tree.token_ids.tolist()[1:], tree.parents.tolist()[1:], strict=True):
        paths.append([*paths[parent], token])
    return paths


def path_to(tree: DraftTree, node: int) -> tuple[int, ...]:
    """Return the nodes from the root to one."""
    parents, path = tree.parents.tolist(), [node]
    while path[0]:
        path.insert(0, parents[path[0]])
    return tuple(path)


@pytest.mark.parametrize("kind", KINDS)
def test_every_node_has_the_log_probability_that_the_layer_gives_its_path(
    kind: str, checkpoints: Callable[[str], tuple[Path, PlainMtp]]
) -> None:
    folder, plain = checkpoints(kind)
    assert_says_what_the_layer_says(target_of(folder), plain)


@pytest.mark.parametrize("strategy", ["full", "nanospec"])
@pytest.mark.parametrize("kind", READ_BY_TREES)
def test_the_output_is_the_one_of_transformers(
    kind: str, strategy: str, checkpoints: Callable[[str], tuple[Path, PlainMtp]]
) -> None:
    folder, _ = checkpoints(kind)
    vocabulary = {"capacity": 40} if strategy == "nanospec" else {}
    config = RunConfig(
        model=str(folder),
        strategy=strategy,
        drafter="mtp",
        dtype="float32",
        gather="torch",
        options={"vocabulary": vocabulary},
    )
    engine = build_engine(config)
    expected = reference_greedy(load_pretrained_anyway(folder).model, PROMPT, 30)
    assert engine.generate(PROMPT, 30).token_ids == expected
    assert engine.generate(PROMPT, 30).token_ids == expected  # nothing is left of the request before


def as_a_map_of_tokens(parts: dict[str, Tensor]) -> None:
    """Have the next token depend on the last one alone, for the target and for its MTP layer alike."""
    for name in parts:
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            parts[name] = torch.zeros_like(parts[name])
    parts["mtp.fc.weight"] = torch.eye(HIDDEN, 2 * HIDDEN)
    parts["mtp.pre_fc_norm_embedding.weight"] = torch.ones(HIDDEN)
    parts["mtp.norm.weight"] = parts["model.norm.weight"].clone()


def test_what_is_accepted_is_read_and_drafted_from(
    tmp_path: Path, checkpoints: Callable[[str], tuple[Path, PlainMtp]]
) -> None:
    folder = changed(checkpoints("qwen3")[0], tmp_path / "map", as_a_map_of_tokens)
    config = RunConfig(
        model=str(folder),
        strategy="full",
        drafter="mtp",
        dtype="float32",
        gather="torch",
        options={"drafter": {"lookup": 0, "depth": 3, "branching": 2, "nodes": 7}},
        costs="off",
    )
    engine = build_engine(config)
    report = engine.generate(PROMPT, 30, ignore_eos=True)
    assert report.tau > 3
    model = load_pretrained_anyway(folder).model
    model.generation_config.eos_token_id = None
    assert report.token_ids == reference_greedy(model, PROMPT, 30)


def test_the_drafter_keeps_its_promises(checkpoints: Callable[[str], tuple[Path, PlainMtp]]) -> None:
    folder, _ = checkpoints("qwen3")
    check_drafter(drafter_for(target_of(folder)), HIDDEN)


def test_copies_of_embedding_and_lm_head_are_the_targets(
    checkpoints: Callable[[str], tuple[Path, PlainMtp]],
) -> None:
    folder, _ = checkpoints("glm-4.5")
    target = target_of(folder)
    loaded = load(None, target)
    assert loaded.embed_tokens is target.embed_tokens
    assert loaded.output_head is target.output_head


def changed(folder: Path, to: Path, change: Callable[[dict[str, Tensor]], Any]) -> Path:
    shutil.copytree(folder, to)
    tensors = load_file(to / "model.safetensors")
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, to / "model.safetensors")
    return to


P = f"model.layers.{LAYERS}."


def test_an_lm_head_of_its_own_proposes(
    tmp_path: Path, checkpoints: Callable[[str], tuple[Path, PlainMtp]]
) -> None:
    folder, _ = checkpoints("glm-4.5")
    other = torch.randn(VOCAB_SIZE, HIDDEN)
    checkpoint = changed(folder, tmp_path / "own", lambda t: t.update({f"{P}shared_head.head.weight": other}))
    torch.testing.assert_close(load(checkpoint, target_of(folder)).output_head.weight, other)


BROKEN: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "none": (
        lambda t: [t.pop(name) for name in list(t) if P in name],
        "holds no layer for multi-token prediction",
    ),
    "no projection": (lambda t: t.pop(f"{P}eh_proj.weight"), "has no tensor eh_proj.weight"),
    "another layout beside": (
        lambda t: t.update({"mtp.fc.weight": torch.ones(2)}),
        "beside MTP layers of another",
    ),
    "a tensor of nothing": (
        lambda t: t.update({f"{P}gate.weight": torch.ones(2)}),
        "unexpected tensor block.gate",
    ),
    "an expert missing": (
        lambda t: t.pop(f"{P}mlp.experts.1.up_proj.weight"),
        "see 1.up_proj; allowed: gate_proj",
    ),
    "an expert too many": (
        lambda t: t.update({f"{P}mlp.experts.4.up_proj.weight": torch.ones(24, HIDDEN)}),
        "do not fit 4 experts alike, see 4.up_proj",
    ),
    "an expert of another size": (
        lambda t: t.update({f"{P}mlp.experts.2.up_proj.weight": torch.ones(23, HIDDEN)}),
        "do not fit 4 experts alike",
    ),
    "another width": (
        lambda t: t.update({f"{P}enorm.weight": torch.ones(HIDDEN + 1)}),
        "enorm.weight is [33]",
    ),
    "eight bits": (
        lambda t: t.update({f"{P}eh_proj.weight": t[f"{P}eh_proj.weight"].to(torch.float8_e4m3fn)}),
        "eh_proj.weight is float8_e4m3fn",
    ),
    "not finite": (lambda t: t[f"{P}enorm.weight"].fill_(torch.nan), "enorm.weight in"),
    "another vocabulary": (
        lambda t: t.update({f"{P}shared_head.head.weight": torch.ones(7, HIDDEN)}),
        "lm_head.weight is [7, 32]",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_layer_is_one_line(
    case: str, tmp_path: Path, checkpoints: Callable[[str], tuple[Path, PlainMtp]]
) -> None:
    change, expected = BROKEN[case]
    folder, _ = checkpoints("glm-4.5")
    target = target_of(folder)
    checkpoint = changed(folder, tmp_path / "broken", change)
    with pytest.raises(CheckpointError) as caught:
        load(checkpoint, target)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_of_several_layers_the_first_drafts_and_that_is_said(
    tmp_path: Path,
    checkpoints: Callable[[str], tuple[Path, PlainMtp]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder, _ = checkpoints("glm-4.5")
    second = P.replace(str(LAYERS), str(LAYERS + 1))
    checkpoint = changed(
        folder, tmp_path / "two", lambda t: t.update({f"{second}enorm.weight": torch.ones(HIDDEN)})
    )
    with caplog.at_level(logging.WARNING):
        load(checkpoint, target_of(folder))
    assert "holds 2 MTP layers; the first one drafts every level" in caplog.text


def test_the_doctor_says_whether_there_is_a_layer(
    checkpoints: Callable[[str], tuple[Path, PlainMtp]],
) -> None:
    folder, _ = checkpoints("qwen3")
    target = target_of(folder)
    request = DoctorRequest(
        device=target.device, dtype=target.dtype, compile_targets=(), target=target, checkpoint=None
    )
    assert COMPONENT.diagnose is not None
    fits, predicts = COMPONENT.diagnose(request)
    assert (fits.ok, predicts.ok) == (True, False)  # it is random

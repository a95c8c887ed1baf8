"""The forward ``openvino`` computes what transformers computes; it runs where it is asked for."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from decoders import IDS, append, path_to, random_tree, tree_of_levels
from lean_models import VARIANTS, model_of
from tiny_models import MODEL_TYPES, tiny_tokenizer

from specframe.contracts.tree import DraftTree
from specframe.engine import forwards as forwards_module
from specframe.engine.forwards import compare_forwards
from specframe.errors import UsageError
from specframe.model.fastest import remember
from specframe.model.forward import attention_windows
from specframe.model.lean.parts import ModelParts
from specframe.model.loading import CACHE_VARIABLE, LoadedModel, load_pretrained
from specframe.model.openvino.forward import OpenVinoForward
from specframe.model.target import Target, TreePass
from specframe.model.transformers_forward import TransformersForward

pytestmark = pytest.mark.numbers


@pytest.fixture(params=[*MODEL_TYPES, "mistral", *VARIANTS])
def model(request: pytest.FixtureRequest) -> Any:
    return model_of(request.param)


def forwards(model: Any, capacity: int) -> tuple[OpenVinoForward, TransformersForward]:
    windows = attention_windows(model.config)
    pair = OpenVinoForward(ModelParts(model), windows), TransformersForward(model, windows)
    for forward in pair:
        forward.begin(capacity)
    return pair


def test_trees_and_committed_paths_give_what_the_transformers_forward_gives(model: Any) -> None:
    pair = forwards(model, 200)
    for forward in pair:
        append(forward, IDS[:5])
    for step in range(6):
        tree = random_tree(1 + 2 * step, seed=step)
        one, plain = (
            forward.run(tree.token_ids, forward.committed + tree.depths, tree.ancestor_mask())[0]
            for forward in pair
        )
        torch.testing.assert_close(one, plain, rtol=1e-3, atol=1e-3)
        for forward in pair:
            forward.commit(path_to(tree, len(tree) - 1))
    assert pair[0].committed == pair[1].committed > 10


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_a_tree_run_level_by_level_is_the_tree_run_at_once(name: str) -> None:
    tree = tree_of_levels(depth=12, width=3)  # deeper than the sliding windows are wide
    path, mask = path_to(tree, len(tree) - 1), tree.ancestor_mask()
    forward, _ = forwards(model_of(name), 200)
    append(forward, IDS[:20])
    positions = forward.committed + tree.depths
    at_once = forward.run(tree.token_ids, positions, mask)[0]
    forward.commit(path)
    after = append(forward, IDS[20:])
    forward.begin(200, 20)
    levels = []
    for level in torch.arange(len(tree)).split([1, *[3] * 12]):
        end = int(level[-1]) + 1
        levels.append(forward.run(tree.token_ids[level], positions[:end], mask[level, :end])[0])
    torch.testing.assert_close(torch.cat(levels), at_once, rtol=1e-3, atol=1e-3)
    forward.commit(path)
    torch.testing.assert_close(append(forward, IDS[20:]), after, rtol=1e-3, atol=1e-3)


def test_a_context_of_many_windows_stays_exact_while_the_cache_grows() -> None:
    pair = forwards(model_of("gemma3"), 1500)
    ids = torch.randint(3, 101, (1400,), generator=torch.Generator().manual_seed(1))
    for forward in pair:
        for part in ids.split(512):
            append(forward, part)
    got, expected = (append(forward, IDS) for forward in pair)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


def test_a_conversation_that_outgrows_the_cache_goes_on_from_what_was_kept() -> None:
    pair = forwards(model_of("gemma3"), 300)
    for forward in pair:
        append(forward, IDS.repeat(7))
        forward.begin(700, keep=250)
    got, expected = (append(forward, IDS.repeat(4)) for forward in pair)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


def test_a_request_after_a_long_one_sees_nothing_of_it() -> None:
    forward, _ = forwards(model_of("qwen3"), 8)
    short = append(forward, IDS[:8])
    forward.begin(1400)
    append(forward, IDS.repeat(30))
    forward.begin(8)
    torch.testing.assert_close(append(forward, IDS[:8]), short, rtol=1e-5, atol=1e-5)


def test_inputs_of_layers_are_returned_side_by_side() -> None:
    pair = forwards(model_of("llama"), 40)
    layers = (1, 0, 2)
    ids = torch.arange(10)
    mask = torch.ones(10, 10, dtype=torch.bool).tril()
    got, expected = (forward.run(IDS[:10], ids, mask, layers)[1] for forward in pair)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_it_can_be_chosen() -> None:
    target = Target(LoadedModel(model_of("llama"), tiny_tokenizer(), "tiny"), "openvino")
    assert target.forward_name == "openvino"


def test_another_dtype_is_refused_in_one_line() -> None:
    with pytest.raises(
        UsageError, match="'openvino' cannot run tiny: it runs in float32, and the model is in bf"
    ):
        Target(LoadedModel(model_of("llama").bfloat16(), tiny_tokenizer(), "tiny"), "openvino")


def test_where_it_is_not_installed_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=r"not installed; install it with: pip install 'specframe\[openvino\]'"
    ):
        Target(LoadedModel(model_of("llama"), tiny_tokenizer(), "tiny"), "openvino")


def taken_by_auto(dtype: torch.dtype = torch.float32) -> str:
    return Target(LoadedModel(model_of("llama").to(dtype), tiny_tokenizer(), "tiny")).forward_name


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    return tmp_path


def test_auto_takes_it_where_it_was_measured_to_be_the_fastest(own_cache: Path) -> None:
    assert taken_by_auto() == "lean"
    remember(model_of("llama").config, torch.float32, "openvino")
    assert taken_by_auto() == "openvino"
    assert taken_by_auto(torch.bfloat16) == "lean"
    remember(model_of("llama").config, torch.float32, "lean")
    assert taken_by_auto() == "lean"


def test_what_was_measured_of_other_sizes_says_nothing(own_cache: Path) -> None:
    remember(model_of("gemma3").config.get_text_config(), torch.float32, "openvino")
    assert taken_by_auto() == "lean"


def test_auto_does_without_it_where_it_is_not_installed_any_more(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(model_of("llama").config, torch.float32, "openvino")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert taken_by_auto() == "lean"


@pytest.mark.parametrize("content", ["", "[]", '{"forward": "another"}'])
def test_a_broken_note_counts_as_none(own_cache: Path, content: str) -> None:
    remember(model_of("llama").config, torch.float32, "openvino")
    (note,) = (own_cache / "forwards").iterdir()
    note.write_text(content, encoding="utf-8")
    assert taken_by_auto() == "lean"


@pytest.mark.parametrize("slow", ["lean", "openvino"])
def test_the_forward_with_the_shorter_passes_is_the_fastest(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    time, tree_pass = [0.0], Target.tree_pass

    def timed(self: Target, tree: DraftTree) -> TreePass:
        time[0] += 2.0 if self.forward_name == slow else 1.0
        return tree_pass(self, tree)

    monkeypatch.setattr(forwards_module, "perf_counter", lambda: time[0])
    monkeypatch.setattr(Target, "tree_pass", timed)
    folder = own_cache / "model"
    model_of("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    found = compare_forwards(str(folder), torch.float32)
    assert found is not None
    assert found.fastest != slow
    assert {name: set(seconds) for name, seconds in found.seconds.items()} == {
        slow: {2.0},
        found.fastest: {1.0},
    }
    assert Target(load_pretrained(str(folder), torch.float32)).forward_name == found.fastest


def test_one_forward_alone_is_not_compared(own_cache: Path) -> None:
    assert compare_forwards("anything", torch.bfloat16) is None

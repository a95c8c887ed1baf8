"""Maps of tokens: every form reads back as it was written, and what fits no target is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from specframe.errors import UsageError
from specframe.vocabulary.token_maps.frequencies import TokenFrequencies
from specframe.vocabulary.token_maps.reading import read_map
from specframe.vocabulary.token_maps.writing import Form, form_of, write_map


@attrs.frozen
class Owner:
    name: str = "a model"
    vocab_size: int = 50
    tokenizer_fingerprint: str = "c0ffee"


OWNER = Owner()
IDS = torch.tensor([7, 3, 40])


def listed(*ids: int, counts: list[int] | None = None) -> TokenFrequencies:
    return TokenFrequencies(torch.tensor(ids), None if counts is None else torch.tensor(counts), "a test")


def ids_in(path: Path, **options: Any) -> list[int]:
    found: list[int] = read_map(path, OWNER, **options).token_ids.tolist()
    return found


maps = st.lists(st.integers(0, 49), min_size=1, unique=True)


@settings(deadline=None, max_examples=60)
@given(ids=maps, form=st.sampled_from(["safetensors", "json", "pt"]))
def test_ids_in_order_survive_every_form_that_keeps_an_order(ids: list[int], form: Form) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"map.{form}"
        write_map(path, listed(*ids), OWNER, form)
        assert ids_in(path) == ids


@settings(deadline=None, max_examples=60)
@given(ids=maps)
def test_the_ids_of_d2t_come_back_in_rising_order(ids: list[int]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "map.safetensors"
        write_map(path, listed(*ids), OWNER, "d2t")
        assert ids_in(path) == sorted(ids)


@settings(deadline=None, max_examples=60)
@given(
    counted=st.dictionaries(st.integers(0, 49), st.integers(1, 10**6), min_size=1),
    form=st.sampled_from(["safetensors", "json"]),
)
def test_counts_survive_the_forms_that_keep_them(counted: dict[int, int], form: Form) -> None:
    written = TokenFrequencies.by_count(
        torch.tensor(list(counted)), torch.tensor(list(counted.values())), "a test"
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"map.{form}"
        write_map(path, written, OWNER, form)
        found = read_map(path, OWNER)
    assert found.counts is not None
    assert dict(zip(found.token_ids.tolist(), found.counts.tolist(), strict=True)) == counted


def test_an_index_list_of_torch_save_is_read(tmp_path: Path) -> None:
    torch.save(IDS.tolist(), tmp_path / "freq_3.pt")
    assert ids_in(tmp_path / "freq_3.pt") == [7, 3, 40]


def test_an_index_tensor_of_torch_save_is_read(tmp_path: Path) -> None:
    torch.save(IDS.int(), tmp_path / "hot.pt")
    assert ids_in(tmp_path / "hot.pt") == [7, 3, 40]


def test_offsets_in_a_whole_checkpoint_are_read(tmp_path: Path) -> None:
    tensors = {"d2t": torch.tensor([3, 6, 38]), "lm_head.weight": torch.randn(3, 4)}
    save_file(tensors, tmp_path / "model.safetensors")
    assert ids_in(tmp_path / "model.safetensors") == [3, 7, 40]


def test_the_directory_of_a_checkpoint_is_read(tmp_path: Path) -> None:
    save_file({"weight": torch.randn(2)}, tmp_path / "model-1.safetensors")
    save_file({"d2t": torch.tensor([3, 6, 38])}, tmp_path / "model-2.safetensors")
    assert ids_in(tmp_path) == [3, 7, 40]


def test_a_mask_alone_is_read(tmp_path: Path) -> None:
    mask = torch.zeros(50, dtype=torch.bool)
    mask[IDS] = True
    save_file({"t2d": mask}, tmp_path / "model.safetensors")
    assert ids_in(tmp_path / "model.safetensors") == [3, 7, 40]


def test_arrays_of_numpy_are_told_apart_by_name_and_type(tmp_path: Path) -> None:
    mask = np.zeros(50, dtype=bool)
    mask[IDS] = True
    np.save(tmp_path / "t2d.npy", mask)
    np.save(tmp_path / "d2t.npy", np.array([3, 6, 38]))
    np.save(tmp_path / "hot.npy", np.array([7, 3, 40]))
    found = [ids_in(tmp_path / f"{name}.npy") for name in ("t2d", "d2t", "hot")]
    assert found == [[3, 7, 40], [3, 7, 40], [7, 3, 40]]


@pytest.mark.parametrize(("holds", "ids"), [("ids", [3, 6, 38]), ("offsets", [3, 7, 40])])
def test_what_bare_integers_are_can_be_said(tmp_path: Path, holds: str, ids: list[int]) -> None:
    save_file({"d2t": torch.tensor([3, 6, 38])}, tmp_path / "a.safetensors")
    torch.save([3, 6, 38], tmp_path / "b.pt")
    assert [ids_in(tmp_path / name, holds=holds) for name in ("a.safetensors", "b.pt")] == [ids, ids]


@pytest.mark.parametrize("suffix", ["safetensors", "npy", "pt", "json"])
def test_a_file_whose_name_says_nothing_is_told_by_content(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"map.{suffix}"
    if suffix == "npy":
        np.save(path, IDS.numpy())
    else:
        write_map(path, listed(7, 3, 40), OWNER, form_of(path, None))
    assert ids_in(path.rename(tmp_path / "map")) == [7, 3, 40]


def test_frequencies_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "map.safetensors"
    write_map(path, listed(7, 3), Owner(tokenizer_fingerprint="feedbeef"), "safetensors")
    with pytest.raises(UsageError, match="tokenizer feedbeef, but a model has tokenizer c0ffee"):
        read_map(path, OWNER)


def test_a_d2t_that_names_another_tokenizer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "map.safetensors"
    write_map(path, listed(7, 3), Owner(tokenizer_fingerprint="feedbeef"), "d2t")
    with pytest.raises(UsageError, match="tokenizer feedbeef, but a model has tokenizer c0ffee"):
        read_map(path, OWNER)


def test_a_mask_over_another_vocabulary_is_refused(tmp_path: Path) -> None:
    save_file({"t2d": torch.ones(60, dtype=torch.bool)}, tmp_path / "m.safetensors")
    with pytest.raises(UsageError, match="is about 60 tokens, but a model has 50"):
        read_map(tmp_path / "m.safetensors", OWNER)


def test_a_mask_and_offsets_that_disagree_are_refused(tmp_path: Path) -> None:
    mask = torch.zeros(50, dtype=torch.bool)
    mask[:3] = True
    save_file({"t2d": mask, "d2t": torch.tensor([3, 6, 38])}, tmp_path / "m.safetensors")
    with pytest.raises(UsageError, match="are about different tokens"):
        read_map(tmp_path / "m.safetensors", OWNER)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([3, 3], "lists an id twice"),
        ([3, 50], "has ids from 3 to 50; allowed: 0 to 49"),
        ([-1, 3], "has ids from -1 to 3; allowed: 0 to 49"),
        ([], "lists no tokens"),
        (["a"], "'a' is not a whole number"),
        (torch.ones(2, 2).long(), "not integers"),
        (torch.ones(2), "not integers"),
        ({"weight": torch.ones(2)}, "holds no token frequencies"),
        (3, "neither an object nor a list"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(tmp_path: Path, content: Any, reason: str) -> None:
    torch.save(content, tmp_path / "map.pt")
    with pytest.raises(UsageError, match=reason):
        read_map(tmp_path / "map.pt", OWNER)


@pytest.mark.parametrize("form", ["safetensors", "json", "pt", "d2t"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_a_file_that_is_cut_off_is_refused_in_one_line(tmp_path: Path, form: Form, kept: float) -> None:
    path = tmp_path / ("map.safetensors" if form == "d2t" else f"map.{form}")
    write_map(path, listed(7, 3, 40, counts=[9, 9, 1]), OWNER, form)
    path.write_bytes(path.read_bytes()[: int(len(path.read_bytes()) * kept)])
    with pytest.raises(UsageError, match="holds no token frequencies") as error:
        read_map(path, OWNER)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kept", [0.3, 0.5])
def test_an_old_torch_file_that_is_cut_off_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "freq.pt"
    torch.save(IDS, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(UsageError, match="holds no token frequencies"):
        read_map(path, OWNER)


@pytest.mark.parametrize(
    "content",
    [
        torch.empty(3, dtype=torch.int64, device="meta"),
        torch.tensor([0, 3, 5]).to_sparse(),
        {"d2t": torch.tensor([0, 0]), "t2d": [1]},
    ],
    ids=["no data", "sparse", "a list beside a tensor"],
)
def test_what_is_no_plain_tensor_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "freq.pt")
    with pytest.raises(UsageError, match="is no plain tensor"):
        read_map(tmp_path / "freq.pt", OWNER)


def test_an_array_that_no_memory_holds_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "d2t.npy", np.arange(3))
    whole = (tmp_path / "d2t.npy").read_bytes()
    (tmp_path / "d2t.npy").write_bytes(whole.replace(b"(3,), }" + b" " * 15, b"(1000000000000000,), }"))
    with pytest.raises(UsageError, match="holds no token frequencies"):
        read_map(tmp_path / "d2t.npy", OWNER)


def test_counts_that_no_sum_holds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(json.dumps({"3": 2**62, "4": 2**62}))
    with pytest.raises(UsageError, match="counts that add up to more than"):
        read_map(tmp_path / "map.json", OWNER)


def test_code_in_a_pickle_is_never_run(tmp_path: Path) -> None:
    torch.save(Owner(), tmp_path / "map.pt")
    with pytest.raises(UsageError, match="pickles more than tensors, lists and numbers"):
        read_map(tmp_path / "map.pt", OWNER)


def test_a_plain_pickle_is_refused_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "map.pt").write_bytes(pickle.dumps([7, 3, 40], protocol=4))
    with pytest.raises(UsageError, match="holds no token frequencies"):
        read_map(tmp_path / "map.pt", OWNER)


def test_a_directory_without_a_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file in it holds d2t, t2d or token_ids"):
        read_map(tmp_path, OWNER)


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "map.pt").write_text("mine")
    with pytest.raises(UsageError, match=r"map.pt exists; allowed: a new file"):
        write_map(tmp_path / "map.pt", listed(7), OWNER, "pt")


def test_a_name_that_says_no_form_asks_for_one() -> None:
    with pytest.raises(UsageError, match=r"or --form safetensors\|json\|pt\|d2t"):
        form_of(Path("map.txt"), None)


def test_rising_ids_without_counts_say_nothing_about_frequency() -> None:
    maps = [listed(3, 7), listed(7, 3), listed(3, 7, counts=[2, 1])]
    assert [one.ranked for one in maps] == [False, True, True]


def test_json_lists_the_ids_of_a_map_without_counts(tmp_path: Path) -> None:
    write_map(tmp_path / "map.json", listed(7, 3), OWNER, "json")
    assert json.loads((tmp_path / "map.json").read_text()) == [7, 3]

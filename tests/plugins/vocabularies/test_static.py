from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from paper_machines import paper_costs
from safetensors.torch import save_file
from tiny_models import VOCAB_SIZE, tiny_target

from specframe.contracts.options import build_options
from specframe.costs.model import CostModel
from specframe.errors import PluginError, UsageError
from specframe.model.target import Target
from specframe.registry.components import BuildContext, DoctorRequest
from specframe.registry.shipped import ShippedData
from specframe.vocabulary.token_maps.frequencies import TokenFrequencies
from specframe_plugins.vocabularies.components.static import COMPONENT
from specframe_plugins.vocabularies.frequencies import SHIPPED_NAME
from specframe_plugins.vocabularies.static import StaticVocabulary, auto_size

REQUIRED = torch.tensor([0, 1, 2])
NOTHING = ShippedData()


@pytest.fixture(scope="module")
def target() -> Target:
    return tiny_target()


@pytest.fixture
def counts(tmp_path: Path) -> str:
    """Token 9 makes up 60 % of the counted tokens, 8 and 7 another 30 % and 9 %, token 1 the last 1 %."""
    path = tmp_path / "counts.json"
    path.write_text('{"7": 9, "8": 30, "9": 60, "1": 1}')
    return str(path)


def build(target: Target, data: ShippedData = NOTHING, **options: Any) -> StaticVocabulary:
    context = BuildContext(target=target, required_ids=REQUIRED, data=data)
    built: StaticVocabulary = COMPONENT.factory(
        build_options(COMPONENT.options, options, "vocabulary 'static'"), context
    )
    return built


def write_frequencies(path: Path, fingerprint: str, ids: list[int], counts: list[int]) -> str:
    save_file(
        {
            "token_ids": torch.tensor(ids, dtype=torch.int32),
            "counts": torch.tensor(counts, dtype=torch.int64),
        },
        path,
        metadata={"tokenizer_fingerprint": fingerprint, "source": "a test"},
    )
    return str(path)


def test_a_whole_number_keeps_that_many_tokens_required_ones_included(target: Target, counts: str) -> None:
    assert build(target, size="5", frequencies=counts).pinned_ids.tolist() == [0, 1, 2, 9, 8]


def test_a_number_beyond_the_counted_tokens_fills_up_in_order_of_id(target: Target, counts: str) -> None:
    assert build(target, size="8", frequencies=counts).pinned_ids.tolist() == [0, 1, 2, 9, 8, 7, 3, 4]


def test_a_number_beyond_the_vocabulary_keeps_all_of_it(target: Target, counts: str) -> None:
    builder = build(target, frequencies=counts)
    assert builder.capacity == len(builder.pinned_ids) == VOCAB_SIZE


@pytest.mark.parametrize(
    ("share", "expected"),
    [("0.5", [9]), ("0.6", [9]), ("0.61", [9, 8]), ("0.9", [9, 8]), ("0.99", [9, 8, 7]), ("1.0", [9, 8, 7])],
)
def test_a_share_keeps_the_fewest_tokens_that_cover_it(
    target: Target, counts: str, share: str, expected: list[int]
) -> None:
    ids = build(target, size=share, frequencies=counts).pinned_ids
    assert ids.tolist() == [0, 1, 2, *expected]


def test_a_share_may_come_from_toml_as_a_number(target: Target, counts: str) -> None:
    assert build(target, size=0.5, frequencies=counts).capacity == 4


@pytest.mark.parametrize("size", ["0", "-3", "0.0", "1.5", "many", "1e3", "nan", ""])
def test_a_size_that_is_neither_a_number_nor_a_share_is_refused(target: Target, size: str) -> None:
    with pytest.raises(UsageError, match="allowed: a whole number of tokens from 1, or a coverage share"):
        build(target, size=size)


def test_a_size_below_the_required_ids_is_refused(target: Target, counts: str) -> None:
    with pytest.raises(UsageError, match="size 2 does not hold the 3 ids"):
        build(target, size="2", frequencies=counts)


def test_a_share_of_a_bare_list_is_refused(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "ids.json"
    path.write_text("[5, 4]")
    with pytest.raises(UsageError, match="has no counts to take a coverage share of"):
        build(target, size="0.9", frequencies=str(path))


def test_a_bare_list_is_in_order_of_frequency(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "ids.json"
    path.write_text("[50, 4, 60]")
    assert build(target, size="5", frequencies=str(path)).pinned_ids.tolist() == [0, 1, 2, 50, 4]


def test_text_is_counted_with_the_tokenizer_of_the_target(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("w40 w41 w40 w42 w42 w42")
    assert build(target, size="5", text=str(path)).pinned_ids.tolist() == [0, 1, 2, 42, 40]


def test_equal_counts_are_ordered_by_id(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    path.write_text('{"60": 1, "50": 1, "55": 1}')
    assert build(target, size="6", frequencies=str(path)).pinned_ids.tolist()[3:] == [50, 55, 60]


def test_a_frequency_file_of_this_tokenizer_is_read(target: Target, tmp_path: Path) -> None:
    path = write_frequencies(tmp_path / "f.safetensors", target.tokenizer_fingerprint, [30, 20], [5, 4])
    assert build(target, size="4", frequencies=path).pinned_ids.tolist() == [0, 1, 2, 30]


def test_a_file_of_another_tokenizer_is_refused_naming_both(target: Target, tmp_path: Path) -> None:
    path = write_frequencies(tmp_path / "f.safetensors", "feedbeef", [30], [5])
    with pytest.raises(UsageError, match=f"tokenizer feedbeef, but .* {target.tokenizer_fingerprint}"):
        build(target, frequencies=path)


def ship(folder: Path, fingerprint: str, counts: list[int]) -> tuple[Path, str]:
    """Return a folder of a plugin with the frequencies of one token."""
    folder.mkdir()
    write_frequencies(folder / SHIPPED_NAME, fingerprint, [30], counts)
    return folder, "theirs 1.0"


def test_frequencies_shipped_for_the_tokenizer_are_the_default(target: Target, tmp_path: Path) -> None:
    other = ship(tmp_path / "other", "feedbeef", [5])
    data = ShippedData((other, ship(tmp_path / "this", target.tokenizer_fingerprint, [5])))
    assert build(target, data, size="4").pinned_ids.tolist() == [0, 1, 2, 30]


def test_two_shipped_frequencies_for_one_tokenizer_are_named(target: Target, tmp_path: Path) -> None:
    folders = tuple(ship(tmp_path / name, target.tokenizer_fingerprint, [5]) for name in ("one", "two"))
    with pytest.raises(PluginError, match=r"one/token_frequencies.* of plugin theirs 1.0 and .*two/"):
        build(target, ShippedData(folders))


@pytest.mark.parametrize("content", [b"no tensors", None])
def test_broken_shipped_frequencies_name_their_plugin(
    target: Target, tmp_path: Path, content: bytes | None
) -> None:
    folder = ship(tmp_path / "this", target.tokenizer_fingerprint, [0])
    if content is not None:
        (tmp_path / "this" / SHIPPED_NAME).write_bytes(content)
    with pytest.raises(PluginError, match=r"^plugin theirs 1.0 ships a broken .*; uninstall or disable it$"):
        build(target, ShippedData((folder,)))


@pytest.mark.parametrize(
    ("counts", "ok", "message"),
    [
        (None, None, "none ship for the tokenizer of tiny-llama"),
        ([5], True, "1 tokens, the tokenizer fits; a test"),
        ([0], False, "counted nothing"),
    ],
)
def test_the_doctor_checks_the_frequencies_that_ship_for_the_target(
    target: Target,
    tmp_path: Path,
    counts: list[int] | None,
    ok: bool | None,
    message: str,
) -> None:
    folders = (ship(tmp_path / "this", target.tokenizer_fingerprint, counts),) if counts else ()
    request = DoctorRequest(
        device=target.device,
        dtype=target.dtype,
        compile_targets=(),
        target=target,
        checkpoint=None,
        data=ShippedData(folders),
    )
    assert COMPONENT.diagnose is not None
    (finding,) = COMPONENT.diagnose(request)
    assert finding.ok is ok
    assert message in finding.message


def test_without_frequencies_for_the_tokenizer_the_error_says_what_to_give(target: Target) -> None:
    with pytest.raises(UsageError, match=r"give -o vocabulary.frequencies=FILE, or -o vocabulary.text=FILE"):
        build(target)


def test_a_file_and_a_text_at_once_are_refused(target: Target) -> None:
    with pytest.raises(UsageError, match="allowed: one of them"):
        build(target, frequencies="a.json", text="b.txt")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "holds no token frequencies"),
        ("3", "neither an object nor a list"),
        ('{"a": 1}', "holds no token frequencies"),
        ('{"1": 1.5}', "1.5 is not a whole number"),
        ("[1, 2.5]", "2.5 is not a whole number"),
        (f"[{10**30}]", "holds no token frequencies"),
        ("[]", "lists no tokens"),
        ("[3, 3]", "lists an id twice"),
        ("[3, 101]", "allowed: 0 to 100"),
        ('{"3": -1}', "allowed: falling counts from 0"),
        ('{"3": 0}', "every count is 0"),
    ],
)
def test_a_json_file_that_does_not_fit_is_refused(
    target: Target, tmp_path: Path, content: str, reason: str
) -> None:
    path = tmp_path / "frequencies.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=reason):
        build(target, frequencies=str(path))


def test_a_safetensors_file_that_is_none_is_refused(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "frequencies.safetensors"
    path.write_bytes(b"not a safetensors file")
    with pytest.raises(UsageError, match="holds no token frequencies"):
        build(target, frequencies=str(path))


def test_rising_counts_are_refused(target: Target, tmp_path: Path) -> None:
    path = write_frequencies(tmp_path / "f.safetensors", target.tokenizer_fingerprint, [3, 4], [1, 2])
    with pytest.raises(UsageError, match="rising counts"):
        build(target, frequencies=path)


@pytest.mark.parametrize("name", ["frequencies", "text"])
@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_file_that_is_not_there_is_refused(target: Target, tmp_path: Path, name: str, suffix: str) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        build(target, **{name: str(tmp_path / f"missing.{suffix}")})


@pytest.mark.parametrize(("content", "reason"), [(b"\xff\xfe\xff", "is not UTF-8"), (b"", "has no tokens")])
def test_a_text_that_cannot_be_counted_is_refused(
    target: Target, tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=reason):
        build(target, text=str(path))


def test_everything_is_pinned_and_nothing_is_admitted_later(target: Target, counts: str) -> None:
    builder = build(target, size="6", frequencies=counts)
    assert builder.capacity == len(builder.pinned_ids)
    assert builder.start(torch.tensor([3, 4]), None).numel() == 0


def test_json_counts_may_be_in_any_order(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    path.write_text(json.dumps({str(i): i for i in range(3, 101)}))
    assert build(target, size="5", frequencies=str(path)).pinned_ids.tolist()[3:] == [100, 99]


def auto_size_by(costs: CostModel | None, covered_by_first: int = 8192) -> int:
    """Return the size for 49,152 tokens, nine tenths of whose counts are the first ones'."""
    counts = torch.ones(49152, dtype=torch.int64)
    counts[:covered_by_first] = 9 * 49152 // covered_by_first
    target = SimpleNamespace(vocab_size=49152)
    context = SimpleNamespace(target=target, costs=costs, required_ids=REQUIRED)
    frequencies = TokenFrequencies(torch.arange(49152), counts, "made up")
    return auto_size(context, frequencies)  # type: ignore[arg-type]


FREE_ROWS, DEAR_ROWS = paper_costs(head={512: 0.01, 8192: 0.02}), paper_costs(head={512: 2.0, 8192: 32.0})


def test_a_map_grows_where_rows_are_cheap_and_shrinks_where_they_are_dear() -> None:
    assert auto_size_by(FREE_ROWS) > auto_size_by(DEAR_ROWS)


def test_a_map_covers_nine_tenths_whatever_rows_cost() -> None:
    assert [auto_size_by(DEAR_ROWS, first) for first in (2048, 8192)] == [2048, 8192]


def test_without_costs_a_map_has_the_size_of_the_paper() -> None:
    assert auto_size_by(None) == 32768


def test_a_map_without_counts_is_taken_whole_with_the_required_ids(target: Target, tmp_path: Path) -> None:
    torch.save([50, 4, 60, 1], tmp_path / "freq_4.pt")
    builder = build(target, size="auto", frequencies=str(tmp_path / "freq_4.pt"))
    assert builder.pinned_ids.tolist() == [0, 1, 2, 50, 4, 60]

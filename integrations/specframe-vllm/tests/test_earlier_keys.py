"""Keys of the position before come from the right slot, whatever vLLM does to slots."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from specframe_vllm.draft_head.earlier_keys import EarlierKeys

BLOCK, WIDTH = 4, 3
# Blocks of two requests, in an order that no position follows.
TABLE = torch.tensor([[5, 2, 7, 0], [3, 6, 1, 0]], dtype=torch.int32)


@attrs.frozen(eq=False)
class Standing:
    """Where the tokens of a batch stand."""

    slot_mapping: Tensor
    block_table: Tensor
    query_start_loc: Tensor


def key_of(request: int, position: int) -> Tensor:
    """A key that no other position has."""
    return torch.arange(WIDTH) + 100.0 * request + position + 1


def batch(*spans: Sequence[int], padding: int = 0) -> tuple[Tensor, Tensor, Standing]:
    """Keys, positions and places of positions of one request after the other, and of padded tokens."""
    rows = [(request, position) for request, span in enumerate(spans) for position in span]
    slots = [int(TABLE[r, p // BLOCK]) * BLOCK + p % BLOCK for r, p in rows]
    starts = torch.tensor([0, *map(len, spans)]).cumsum(0)
    keys = torch.stack([key_of(*row) for row in rows] + [torch.full((WIDTH,), -9.0)] * padding)
    positions = torch.tensor([position for _, position in rows] + [0] * padding)
    mapping = torch.tensor(slots + [-1] * padding)
    return keys, positions, Standing(mapping, TABLE[: len(spans)], starts.to(torch.int32))


def shifted(*spans: Sequence[int]) -> Tensor:
    return torch.stack(
        [key_of(r, p - 1) if p else torch.zeros(WIDTH) for r, s in enumerate(spans) for p in s]
    )


@pytest.fixture
def keys() -> EarlierKeys:
    earlier = EarlierKeys(WIDTH, torch.float32)
    earlier.allocate(8, BLOCK, torch.device("cpu"))
    return earlier


def test_a_prompt_gets_the_keys_before_its_tokens_and_zeros_at_its_start(keys: EarlierKeys) -> None:
    assert torch.equal(keys.shift(*batch(range(6))), shifted(range(6)))


def test_requests_of_a_batch_get_their_own_keys(keys: EarlierKeys) -> None:
    assert torch.equal(keys.shift(*batch(range(9), range(3))), shifted(range(9), range(3)))


def test_a_later_chunk_finds_the_key_of_the_one_before(keys: EarlierKeys) -> None:
    keys.shift(*batch(range(5), range(2)))
    assert torch.equal(keys.shift(*batch(range(5, 9), range(2, 3))), shifted(range(5, 9), range(2, 3)))


def test_the_key_of_a_rejected_token_is_replaced(keys: EarlierKeys) -> None:
    keys.shift(*batch(range(5)))
    rejected, positions, standing = batch(range(5, 7))
    keys.shift(-rejected, positions, standing)
    keys.shift(*batch(range(5, 6)))
    assert torch.equal(keys.shift(*batch(range(6, 7))), shifted(range(6, 7)))


def test_padded_tokens_change_no_slot(keys: EarlierKeys) -> None:
    keys.shift(*batch(range(5), padding=3))
    assert keys.rows is not None
    assert not (keys.rows[:-1] == -9).any()


def test_nothing_is_read_on_the_host() -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        earlier = EarlierKeys(WIDTH, torch.float32)
        earlier.allocate(8, BLOCK, torch.device("cpu"))
        standing = Standing(torch.zeros(5).long(), torch.zeros(2, 4).int(), torch.zeros(3).int())
        out = earlier.shift(torch.zeros(5, WIDTH), torch.zeros(5).long(), standing)
    assert out.shape == (5, WIDTH)

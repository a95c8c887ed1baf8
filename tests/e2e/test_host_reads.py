"""The engine's loop waits for the device once per target pass: to learn how much was accepted."""

from __future__ import annotations

import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from kernel_device import DEVICE, NOT_INTERPRETED
from tiny_models import tiny_model, tiny_target, tiny_tokenizer
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from specframe.config import RunConfig
from specframe.contracts.kinds import ForwardName
from specframe.engine.assembly import build_engine
from specframe.engine.tree_check import TreeCheck
from specframe.model.loading import LoadedModel
from specframe.model.target import Target
from specframe_kernels.launch import Launch
from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead

# ``tolist`` and its like never reach the dispatcher; values that decide Python or a shape do.
READING_METHODS = {"tolist", "cpu", "numpy", "__array__"}
READING_OPERATIONS = {
    "aten._local_scalar_dense",
    "aten.nonzero",
    "aten.masked_select",
    "aten._unique2",
    "aten.equal",
    "aten.is_nonzero",
}
INDEXING_OPERATIONS = {"aten.index", "aten.index_put", "aten.index_put_"}
PROMPT = torch.tensor([5, 17, 42, 8, 33, 12, 70, 64, 21, 9, 11])


def selects(indices: list[Tensor | None]) -> bool:
    """Return whether an index is a mask, whose number of true entries decides the shape."""
    return any(index is not None and index.dtype == torch.bool for index in indices)


def brings_numbers(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether numbers of the host go to the device while the host waits, as a list or in an index."""
    if name == "tensor":
        return kwargs.get("device") is not None
    index = args[1] if name in ("__getitem__", "__setitem__") else None
    return any(isinstance(one, list) for one in (index if isinstance(index, tuple) else (index,)))


class HostReads:
    """Counts what would wait for a device, and says where; work launched on the device is left out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: list[str] = []
        self._listening = True
        # The interpreter reads whatever it computes with.
        self._leave_out(monkeypatch, Launch, "run")
        # Its verdict on the tree is a copy in host memory by then.
        self._leave_out(monkeypatch, TreeCheck, "confirm")

    def _leave_out(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def unheard(*arguments: Any) -> Any:
            listening, self._listening = self._listening, False
            try:
                return original(*arguments)
            finally:
                self._listening = listening

        monkeypatch.setattr(owner, name, unheard)

    def note(self, what: str) -> None:
        if self._listening:
            frames = [
                f for f in traceback.extract_stack() if f.filename != __file__ and "specframe" in f.filename
            ]
            where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "a test"
            self.found.append(f"{what} in {where}")

    def counted(self) -> ExitStack:
        reads = self

        class Functions(TorchFunctionMode):
            def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                name = getattr(func, "__name__", "")
                if name in READING_METHODS or brings_numbers(name, args, kwargs or {}):
                    reads.note(name)
                return func(*args, **(kwargs or {}))

        class Operations(TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                name = str(func.overloadpacket)
                if name in READING_OPERATIONS or (name in INDEXING_OPERATIONS and selects(args[1])):
                    reads.note(name)
                return func(*args, **(kwargs or {}))

        stack = ExitStack()
        stack.enter_context(Functions())
        stack.enter_context(Operations())
        return stack


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("heads") / "tiny"
    save_head(EagleHead(EagleConfig.for_target(tiny_target().config)), folder)
    return folder


@pytest.mark.skipif(DEVICE != "cpu", reason=NOT_INTERPRETED)
@pytest.mark.parametrize(
    ("model_type", "forward", "gather", "drafter"),
    [
        ("llama", "lean", "triton", "eagle"),
        # What runs the layers on a GPU.
        ("llama", "transformers", "triton-indexed", "eagle"),
        ("gemma3", "transformers", "triton", "eagle"),
        ("gemma3", "lean", "triton-indexed", "eagle"),
        ("gemma3", "transformers", "triton", "draft-model"),
    ],
)
def test_a_target_pass_waits_for_the_device_once(
    model_type: str,
    forward: ForwardName,
    gather: str,
    drafter: str,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needed = {"eagle": {"checkpoint": str(checkpoint)}, "draft-model": {"layers": 2}}[drafter]
    config = RunConfig(
        dtype="float32",
        gather=gather,
        drafter=drafter,
        costs="off",  # as in a CUDA graph: trees of a fixed size
        options={
            "drafter": {"depth": 3, "branching": 4, "nodes": 12, "lookup": 0, **needed},
            "vocabulary": {"capacity": 40},
        },
    )
    loaded = LoadedModel(tiny_model(model_type), tiny_tokenizer(), "tiny")
    engine = build_engine(config, target=Target(loaded, forward))
    reads, passes = HostReads(monkeypatch), []
    chunks = engine.stream(PROMPT, 12)
    # The first chunk comes from the prefill; with the second the drafter and the active set begin.
    next(chunks), next(chunks)
    with reads.counted():
        for _ in chunks:
            passes.append(reads.found[:])
            reads.found.clear()
    assert len(passes) > 4
    for found in passes:
        assert len(found) == 1, found
        assert "verifiers/greedy.py" in found[0]


@pytest.mark.parametrize(
    "read",
    [
        int,
        bool,
        Tensor.tolist,
        Tensor.numpy,
        Tensor.unique,
        Tensor.nonzero,
        lambda one: one[one > 0],
        lambda one: one[[0]],
        lambda one: torch.tensor([1], device=one.device),
    ],
)
def test_what_waits_for_the_device_is_noticed(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, one = HostReads(monkeypatch), torch.ones(1)
    with reads.counted():
        read(one)
    assert reads.found

"""What a plugin registers: a named component with options, a factory and a compatibility check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from specframe.contracts.kinds import TreeKind
from specframe.contracts.sampling import SamplingParams
from specframe.registry.declaration import check_component
from specframe.registry.reference import by_name, by_name_or_none
from specframe.registry.shipped import ShippedData

# Imported for types only: the command line reads the kinds without waiting for torch.
if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from specframe.costs.model import CostModel
    from specframe.model.target import Target


@attrs.frozen(slots=True, kw_only=True)
class Setting:
    """What a component is asked to run with; ``supports`` decides on it before anything is loaded.

    Attributes:
        device: where the target and the drafter live.
        dtype: their weights' dtype.
        vocabulary, gather, drafter, verifier: names of the four chosen components, or ``auto`` for one that
            is still to be chosen.
        sampling: how the target is sampled.
    """

    device: torch.device
    dtype: torch.dtype
    vocabulary: str
    gather: str
    drafter: str
    verifier: str
    sampling: SamplingParams = SamplingParams()


@attrs.frozen(slots=True, kw_only=True, eq=False)
class BuildContext:
    """What a factory may use to build its component.

    Attributes:
        target: the loaded target; its tokenizer, sizes, embedding and LM head.
        required_ids: ids every active set must keep [n] int64: EOS, end of turn, and the other special
            tokens that the target may emit.
        cuda_graph: whether a drafter that can should capture its draft step in a CUDA graph.
        budgeted: measured costs decide how much is drafted.
        costs: of the machine, for vocabulary builders; None where nothing was measured.
        tree: for drafters: the kind of draft trees to draw, one of the component's ``trees``.
        sampling: how the target is sampled; a request may have parameters of its own.
        data: what plugins ship for targets.
    """

    target: Target
    required_ids: Tensor
    cuda_graph: bool = False
    budgeted: bool = False
    costs: CostModel | None = None
    tree: TreeKind = "top-k"
    sampling: SamplingParams = SamplingParams()
    data: ShippedData = attrs.field(factory=ShippedData)


def always_supported(setting: Setting) -> str | None:
    """Return None: the component runs everywhere."""
    return None


def only_by_name(setting: Setting) -> int | None:
    """Return None: ``auto`` never takes the component."""
    return None


def learns_nothing(options: Any) -> bool:
    """Return False: nothing that a drafter learnt from the target serves later requests."""
    return False


@attrs.frozen(slots=True, kw_only=True)
class TrainRequest:
    """What a drafter is trained for.

    Attributes:
        model: the target: demo model name, hub id, directory, or ``.gguf`` file.
        out: directory of the checkpoint to write; the drafter's option ``checkpoint`` then names it.
        options: instance of the component's ``train_options``.
    """

    model: str
    out: Path
    options: Any


class TrainingDataCommands(Protocol):
    """What ``specframe train data`` can do with the data that a drafter is trained on."""

    def describe(self, folders: Sequence[Path]) -> tuple[Sequence[str], list[Sequence[str]]]:
        """Return column titles, and rows that say what the folders hold."""
        ...

    def merge(self, out: Path, folders: Sequence[Path], share: float = 1.0) -> int:
        """Copy into ``out`` whatever it has not yet, or a share of it; return how many tokens it then has.

        A smaller share is part of every larger one.
        """
        ...

    def top_up(self, request: TrainRequest) -> int:
        """Make data until ``request.out`` has what the options ask for; return how many tokens it has."""
        ...


@attrs.frozen(slots=True, kw_only=True, eq=False)
class ExportRequest:
    """Which checkpoint is written for another engine.

    Attributes:
        checkpoint: directory of the checkpoint.
        target: the loaded target that it is checked against.
        out: directory to write.
    """

    checkpoint: Path
    target: Target
    out: Path


@attrs.frozen(slots=True)
class Export:
    """How checkpoints of a drafter become draft models of vLLM.

    Attributes:
        method: what vLLM calls drafting with such a model, in its speculative config.
        target_of: returns the name of the target that a checkpoint was made for, empty where it does not
            say; None where the directory holds no checkpoint of this drafter.
        write: writes ``ExportRequest.out``, complete or not at all; raises where the checkpoint does not fit
            the target.
    """

    method: str
    target_of: Callable[[Path], str | None] = attrs.field(converter=by_name)
    write: Callable[[ExportRequest], None] = attrs.field(converter=by_name)


@attrs.frozen(slots=True)
class Finding:
    """One line of what ``specframe doctor`` found out.

    Attributes:
        subject: what was looked at.
        ok: whether it works; None for information that is neither good nor bad.
        message: the facts, and what to do when something is broken; one line.
    """

    subject: str
    ok: bool | None
    message: str


@attrs.frozen(slots=True, kw_only=True, eq=False)
class DoctorRequest:
    """What a component is asked to look at.

    Attributes:
        device: where it would run.
        dtype: of the weights.
        compile_targets: those of the component's own ``compile_targets`` to compile its kernels for.
        target: the loaded target to check things against; None when no model was asked for.
        checkpoint: the drafter's checkpoint to check; None for the one that ``target`` would get.
        data: what plugins ship for targets.
    """

    device: torch.device
    dtype: torch.dtype
    compile_targets: tuple[str, ...]
    target: Target | None
    checkpoint: Path | None
    data: ShippedData = attrs.field(factory=ShippedData)


@attrs.frozen(slots=True)
class NoOptions:
    """The options of a component that has none."""


@attrs.frozen(slots=True, kw_only=True)
class Component:
    """One implementation of one of the four kinds.

    A function may also be given by name, ``package.module:function``, and is then imported when it is first
    called: so a command that builds nothing waits for no torch.

    Attributes:
        name: what users type; lower case, unique within its kind.
        summary: one line for ``specframe plugins list``.
        options: attrs class whose fields are made with ``specframe.contracts.options.option``.
        factory: builds the per-step object from the options and the context.
        supports: returns why it cannot run with a setting, or None.
        train: for drafters that can be trained: writes a checkpoint to ``TrainRequest.out``.
        train_options: attrs class of the training's options, made like ``options``.
        train_data: returns the commands for the data of the training.
        export: for drafters whose checkpoints ``specframe export vllm`` can write.
        diagnose: for ``specframe doctor``: checks whatever the component depends on. What is broken is a
            finding and not an error.
        compile_targets: devices that ``diagnose`` can compile the component's kernels for.
        trees: kinds of draft trees that a drafter can draw or a verifier can verify, the preferred one first.
            A verifier that says nothing takes the drafter's most likely tokens alone. The first kind that
            both know is drawn.
        drafts: for drafters that can draft several kinds: those that they draft with given options, of which
            ``tree`` names one. None for all of ``trees``.
        priority: for gather backends and verifiers: how much ``auto`` prefers one that supports a setting;
            None where one has to ask for it by name. Of verifiers it takes exact ones of every kind of tree.
        learns: for drafters: returns whether with given options what it learnt from the target can serve
            later requests, so that ``--warm`` may be asked for.
        lossy: for verifiers: the output is not the target's, so it runs only where the user allows it.
        sweep: for drafters: returns what ``specframe bench --sweep`` compares with the defaults, given a
            setting: lists of options with alternatives, such as ``depth=2|3,nodes=6``.

    Raises:
        ValueError: a field is of no use; the message says what is allowed.
    """

    name: str
    summary: str
    factory: Callable[[Any, BuildContext], Any] = attrs.field(converter=by_name)
    options: type[Any] = NoOptions
    supports: Callable[[Setting], str | None] = attrs.field(default=always_supported, converter=by_name)
    train: Callable[[TrainRequest], None] | None = attrs.field(default=None, converter=by_name_or_none)
    train_options: type[Any] | None = None
    train_data: Callable[[], TrainingDataCommands] | None = attrs.field(
        default=None, converter=by_name_or_none
    )
    export: Export | None = None
    diagnose: Callable[[DoctorRequest], Iterable[Finding]] | None = attrs.field(
        default=None, converter=by_name_or_none
    )
    compile_targets: tuple[str, ...] = ()
    trees: tuple[TreeKind, ...] = ("top-k",)
    drafts: Callable[[Any], Sequence[TreeKind]] | None = attrs.field(default=None, converter=by_name_or_none)
    priority: Callable[[Setting], int | None] = attrs.field(default=only_by_name, converter=by_name)
    learns: Callable[[Any], bool] = attrs.field(default=learns_nothing, converter=by_name)
    lossy: bool = False
    sweep: Callable[[Setting], Sequence[str]] | None = attrs.field(default=None, converter=by_name_or_none)

    def __attrs_post_init__(self) -> None:
        check_component(self)

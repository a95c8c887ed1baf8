"""Hidden states to fit screens to: made once, kept, made again where the file is of no use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_engines import eagle, endless_target
from torch import Tensor

from specframe.config import RunConfig
from specframe.contracts.clock import PhaseClock
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Drafter, GatherBackend
from specframe.contracts.report import GenerationReport
from specframe.contracts.sampling import SamplingParams
from specframe.contracts.tree import DraftTree, Verdict
from specframe.engine import draft_states
from specframe.engine.assembly import build_engine
from specframe.engine.draft_states import DraftStates, evenly, head_digest
from specframe.engine.engine import Engine
from specframe.engine.measuring import FixedBudget
from specframe.errors import SpecframeError
from specframe.model.loading import CACHE_VARIABLE
from specframe.model.target import Target
from specframe.request.request import Request
from specframe.request.tasks import built_in_tasks
from specframe_plugins.drafters.eagle.checkpoint import save_head
from specframe_plugins.drafters.eagle.model import EagleConfig, EagleHead
from specframe_plugins.drafters.lookup.source import LookupSource
from specframe_plugins.gathers.torch import TorchGather
from specframe_plugins.sources.drafter import SourceDrafter
from specframe_plugins.verifiers.greedy import GreedyVerifier


@pytest.fixture(scope="module")
def target() -> Target:
    return endless_target(max_position_embeddings=1024)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own; of the built-in prompts two are drafted."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    whole = draft_states.built_in_tasks
    monkeypatch.setattr(draft_states, "built_in_tasks", lambda: whole()[:5])
    return tmp_path / "states"


class NeverAsks(Drafter):
    """Has an LM head, and drafts nothing with it."""

    max_depth, max_nodes = 0, 1

    def __init__(self, output_head: OutputHead) -> None:
        self.output_head = output_head

    def start(self, prompt_ids: Tensor, features: Tensor) -> None:
        pass

    def draft(self, root: int, features: Tensor, head: GatherBackend, clock: PhaseClock) -> DraftTree:
        return DraftTree.root_only(root)

    def commit(self, verdict: Verdict) -> None:
        pass


def states_of(target: Target, *files: str) -> DraftStates:
    config = RunConfig(dtype="float32", strategy="lowrank")
    return DraftStates(target, eagle(target), GreedyVerifier(), TorchGather, config, files)


def test_states_are_those_that_the_head_drafts_from(target: Target) -> None:
    states = states_of(target).sample(10_000)
    assert states.shape[1] == target.hidden_size
    assert states.dtype == torch.float32
    assert len(states) > 20
    assert len(torch.unique(states, dim=0)) > 10


def test_they_are_kept_for_the_next_run(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    first = states_of(target).sample(10_000)
    monkeypatch.setattr(DraftStates, "_made", lambda self: pytest.fail("made a second time"))
    assert torch.equal(states_of(target).sample(10_000), first)


@pytest.mark.parametrize("content", [b"", b"no safetensors"])
def test_a_file_of_no_use_is_made_again(target: Target, cache: Path, content: bytes) -> None:
    first = states_of(target).sample(10_000)
    (file,) = cache.iterdir()
    file.write_bytes(content)
    assert torch.equal(states_of(target).sample(10_000), first)
    assert file.stat().st_size > 100, "the next run would make them once more"


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64])
def test_states_that_are_no_finite_numbers_are_made_again(
    target: Target, cache: Path, dtype: torch.dtype
) -> None:
    first = states_of(target).sample(10_000)
    (file,) = cache.iterdir()
    wrong = torch.full_like(first, torch.inf).half() if dtype.is_floating_point else first.to(dtype)
    save_file({"states": wrong}, file)
    assert torch.equal(states_of(target).sample(10_000), first)


def test_states_beyond_half_precision_stay_finite(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DraftStates, "_made", lambda self: torch.full((3, target.hidden_size), -1e6))
    assert states_of(target).sample(3).isfinite().all()


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail_and_said(
    target: Target, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.write_text("a file where the folder would be")
    assert len(states_of(target).sample(5)) == 5
    assert "in every run, since" in capsys.readouterr().err


def test_another_checkpoint_of_the_drafter_has_states_of_its_own(target: Target) -> None:
    assert states_of(target, "one").key != states_of(target, "another").key


def test_states_are_the_same_in_any_dtype(target: Target) -> None:
    head = target.output_head
    halved = OutputHead(head.weight.bfloat16())
    assert head_digest(halved) == head_digest(head)


def test_a_budget_of_before_drafts_no_less_for_the_states(target: Target) -> None:
    """Measuring costs ends with drafts of the context alone."""
    drafter = SourceDrafter([LookupSource(8)], 8, eagle(target))
    drafter.draft_within(FixedBudget(0, 0, head=False))
    config = RunConfig(dtype="float32", strategy="lowrank")
    states = DraftStates(target, drafter, GreedyVerifier(), TorchGather, config, budgeted=True)
    assert len(states.sample(10_000)) > 20


def test_another_head_has_another_digest(target: Target) -> None:
    other = endless_target(seed=1)
    assert head_digest(target.output_head) == head_digest(endless_target().output_head)
    assert head_digest(target.output_head) != head_digest(other.output_head)


def test_a_model_without_room_for_a_prompt_is_an_error_of_one_line() -> None:
    small = endless_target(max_position_embeddings=2)
    with pytest.raises(SpecframeError, match="no built-in prompt fits tiny-llama, so no screen"):
        states_of(small).sample(5)


def test_a_drafter_without_a_head_is_given_up_after_a_few_prompts(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft_states, "built_in_tasks", built_in_tasks)
    asked = list[str]()
    right = Engine.generate

    def counted(self: Engine, request: Request) -> GenerationReport:
        asked.append(request.id)
        return right(self, request)

    monkeypatch.setattr(Engine, "generate", counted)
    config = RunConfig(dtype="float32", strategy="lowrank", drafter="silent")
    states = DraftStates(target, NeverAsks(target.output_head), GreedyVerifier(), TorchGather, config)
    with pytest.raises(SpecframeError, match="drafter 'silent' asked its LM head nothing on 3 built-in"):
        states.sample(5)
    assert len(asked) == 3


def test_a_run_that_samples_makes_states_too(target: Target, tmp_path: Path) -> None:
    """Trees that are drawn are drawn from logits, and no head is asked for its best."""
    save_head(EagleHead(EagleConfig.for_target(target.config)), tmp_path / "head")
    config = RunConfig(
        strategy="lowrank",
        dtype="float32",
        costs="off",
        sampling=SamplingParams(temperature=0.8),
        verifier="multi-round",
        options={
            "vocabulary": {"rank": 8, "candidates": 20},
            "drafter": {"checkpoint": tmp_path / "head", "lookup": 0},
        },
    )
    engine = build_engine(config, target=target)
    assert engine.states is not None
    assert len(engine.states.sample(10_000)) > 20


def test_fewer_states_are_taken_evenly() -> None:
    states = torch.arange(100.0)[:, None]
    assert evenly(states, 5)[:, 0].tolist() == [0, 24, 49, 74, 99]
    assert evenly(states, 1000) is states

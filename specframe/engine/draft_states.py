"""Hidden states that a drafter drafts from, to fit screens to: made once from built-in prompts, then kept."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from time import perf_counter

import attrs
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from specframe.config import RunConfig
from specframe.contracts.lm_head import OutputHead
from specframe.contracts.protocols import Drafter, GatherBackend, Verifier, lm_head_of
from specframe.contracts.records import keep_whole
from specframe.contracts.sampling import SamplingParams
from specframe.engine.drafting.active import ActiveDrafting, Unpruned
from specframe.engine.engine import Engine
from specframe.errors import SpecframeError, UsageError
from specframe.model.loading import cache_directory
from specframe.model.target import Target
from specframe.ops.notes import note
from specframe.ops.progress_line import ProgressLine
from specframe.registry.observers import Observers
from specframe.request.request import Request
from specframe.request.tasks import built_in_tasks, choose
from specframe.vocabulary.whole import WholeVocabulary

# Of every task the first prompts are those that benchmarks measure with: what is fitted to them looks better
# than it is.
_MEASURED_WITH = 3
_NEW_TOKENS = 64
# Prompts after which a drafter that asked its LM head nothing is given up.
_TRIED = 3
# How many are kept, of a few ten thousand.
_KEPT = 4096
_ROWS_LOOKED_AT = 256
# States that are held out together.
_STRETCH = 150
# What a file of states calls the digest of the LM head.
_HEAD = "head"
# Nodes below which a drafter within a budget drafts: their log-probability, and how many of a level.
_LIKELY, _WIDEST = math.log(0.1), 3
# They are kept in half precision, where more would be infinite.
_LARGEST = torch.finfo(torch.float16).max


class _AnyLikely:
    """The ``Budget`` of drafts whose states are kept: the head always drafts, below every likely node."""

    def wants_head(self, path: Sequence[float] = ()) -> bool:
        """Return that the head drafts."""
        return True

    def beams(self, log_probs: Sequence[float]) -> int:
        """Return how many nodes are likely, a few at most."""
        return min(sum(one > _LIKELY for one in log_probs), _WIDEST)


@attrs.define(slots=False, eq=False)
class DraftStates:
    """The ``StateSource`` of a drafter with its target.

    Attributes:
        target: writes the texts.
        drafter: its states are kept.
        verifier: of the run; decides at temperature 0.
        make_backend: returns a gather backend of the run.
        config: of the run.
        files: that the drafter's options name, which tell its states from others.
        budgeted: the drafter drafts within a budget, which it is given anew after this.
    """

    target: Target
    drafter: Drafter
    verifier: Verifier
    make_backend: Callable[[], GatherBackend]
    config: RunConfig
    files: tuple[str, ...] = ()
    budgeted: bool = False

    @cached_property
    def key(self) -> str:
        """Sixteen digits of the target, the drafter, its files, and rows of its LM head."""
        return head_digest(lm_head_of(self.drafter), self.target.name, self.config.drafter, *self.files)

    def sample(self, count: int) -> Tensor:
        """Return hidden states, as in ``StateSource``; evenly taken from all prompts."""
        return evenly(self._kept, count)

    @cached_property
    def _kept(self) -> Tensor:
        kept = kept_states(self.key, lm_head_of(self.drafter).hidden_size)
        if kept is not None:
            return kept
        path = _path(self.key)
        began = perf_counter()
        states = self._made().clamp(-_LARGEST, _LARGEST)
        head = head_digest(lm_head_of(self.drafter))
        is_kept = keep_whole(path, to_bytes({"states": states.half()}, {_HEAD: head}))
        how = "once" if is_kept else f"and in every run, since {path} cannot be written"
        spent = perf_counter() - began
        note(f"{len(states)} hidden states of drafts of {self.target.name} ({spent:.0f} s, {how})")
        return states.half().float()

    def _made(self) -> Tensor:
        """Return the states of drafting the built-in prompts [at most _KEPT, H]."""
        note(f"drafting built-in prompts for {self.target.name}")
        if self.budgeted:
            self.drafter.draft_within(_AnyLikely())
        vocabulary = WholeVocabulary(lm_head_of(self.drafter), self.make_backend())
        drafting, states = ActiveDrafting(self.drafter, Unpruned(), vocabulary), list[Tensor]()
        drafting.listen(lambda hidden: states.append(hidden.detach().to("cpu", torch.float32, copy=True)))
        engine = Engine(self.config, self.target, self.verifier, drafting, Observers())
        requests = list(self._requests())
        if not requests:
            raise SpecframeError(
                f"no built-in prompt fits {self.target.name}, so no screen can be fitted to it"
            )
        with ProgressLine(f"drafts of {self.target.name}", len(requests), unit="prompts") as progress:
            for done, request in enumerate(requests):
                if done >= _TRIED and not states:
                    break  # a drafter without a head: the other prompts would take minutes to say so
                engine.generate(request)
                progress.advance()
        if not states:
            raise SpecframeError(
                f"drafter {self.config.drafter!r} asked its LM head nothing on {min(len(requests), _TRIED)} "
                f"built-in prompts that fit {self.target.name}, so no screen can be fitted to it"
            )
        return evenly(torch.cat(states), _KEPT)

    def _requests(self) -> Iterator[Request]:
        for task in choose(built_in_tasks(), skip=_MEASURED_WITH):
            request = Request(task.turns[0], sampling=SamplingParams(), generation_config="none", id=task.id)
            prompt = request.encode(self.target.tokenizer, self.target.vocab_size)
            room = self.target.max_positions - len(prompt)
            if room > 0:
                yield attrs.evolve(request, max_new_tokens=min(_NEW_TOKENS, room))


def kept_states(key: str, hidden_size: int) -> Tensor | None:
    """Return states that were made before [n, H] float32, or None where there are none of use.

    Args:
        key: of their source.
        hidden_size: H.
    """
    try:
        states = load_file(_path(key))["states"]
    except Exception:  # whatever is wrong with the file, it is made again
        return None
    usable = states.dtype == torch.float16 and states.dim() == 2 and states.shape[1] == hidden_size
    return states.float() if usable and len(states) and bool(states.isfinite().all()) else None


@attrs.frozen
class StatesOfHead:
    """The ``StateSource`` of whoever has the LM head alone: what was kept of any drafter's drafts with it.

    Attributes:
        head: the LM head.
        name: how users call the target.
    """

    head: OutputHead
    name: str

    @property
    def key(self) -> str:
        """Sixteen digits of the LM head."""
        return head_digest(self.head)

    def sample(self, count: int) -> Tensor:
        """Return hidden states, as in ``StateSource``.

        Raises:
            UsageError: none were kept.
        """
        for path in sorted((cache_directory() / "states").glob("*.safetensors")):
            if _head_of(path) == self.key:
                kept = kept_states(path.stem, self.head.hidden_size)
                if kept is not None:
                    return evenly(kept, count)
        raise UsageError(
            f"no hidden states of drafts of {self.name} are kept, which a screen is fitted to; they are "
            "made by: specframe run --strategy lowrank --model MODEL"
        )


def _head_of(path: Path) -> str | None:
    """Return the digest of the LM head that kept states were drafted with, None where it is not said."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except Exception:  # a file of a cache can be broken in any way
        return None
    return metadata.get(_HEAD)


@attrs.frozen
class SomeStates:
    """The ``StateSource`` of given states.

    Attributes:
        states: [n, H] float32.
        key: as in ``StateSource``; by default nothing that is fitted to them is kept.
    """

    states: Tensor
    key: str = ""

    def sample(self, count: int) -> Tensor:
        """Return hidden states, as in ``StateSource``."""
        return evenly(self.states, count)


def held_out(states: Tensor) -> tuple[Tensor, Tensor]:
    """Return three quarters of states [n, H] to fit to, and the rest, stretch by stretch.

    What follows each other in a text is alike, so single states are not told apart.
    """
    apart = torch.arange(len(states)) // _STRETCH % 4 == 3
    return states[~apart], states[apart]


def evenly(states: Tensor, count: int) -> Tensor:
    """Return at most ``count`` of states [n, H], taken evenly from all of them."""
    if count >= len(states):
        return states
    return states[torch.linspace(0, len(states) - 1, count).long()]


def head_digest(head: OutputHead, *names: str) -> str:
    """Return sixteen digits that tell an LM head from others, by its shape, some of its rows, and names.

    The dtype that the rows are in makes no difference.
    """
    some = torch.linspace(0, head.vocab_size - 1, min(_ROWS_LOOKED_AT, head.vocab_size)).long()
    rows = head.rows(some.to(head.device)).to("cpu", torch.bfloat16).view(torch.int16)
    digest = hashlib.sha256(json.dumps([*names, head.vocab_size, head.hidden_size]).encode())
    digest.update(rows.numpy().tobytes())
    return digest.hexdigest()[:16]


def _path(key: str) -> Path:
    return cache_directory() / "states" / f"{key}.safetensors"

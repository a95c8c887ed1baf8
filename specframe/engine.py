"""The loop: draft over the active vocabulary, verify in one target pass, learn from it (NanoSpec 2026)."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import torch
from torch import Tensor

from specframe.clock import PhaseClock
from specframe.config import RunConfig
from specframe.errors import SpecframeError, UsageError
from specframe.observers import Observers
from specframe.protocols import Drafter, GatherBackend, Verifier, VocabularyBuilder
from specframe.recorder import GenerationRecorder
from specframe.target import Target, top_ids
from specframe.types import DraftTree, GenerationReport, Verdict
from specframe.vocabulary_store import VocabularyStore


@attrs.frozen(slots=True, eq=False)
class Drafting:
    """What drafts: the drafter, the packed head it uses, and the strategy that fills it.

    Attributes:
        store: the active set; None drafts over the full vocabulary.
    """

    drafter: Drafter
    head: GatherBackend
    strategy: VocabularyBuilder
    store: VocabularyStore | None


class Engine:
    """Generates with one target and one choice of components; requests run one after the other.

    Args:
        config: what was asked for; ``max_new_tokens`` is the default of every request.
        target: the model whose output counts.
        verifier: decides what is accepted.
        drafting: None for autoregressive decoding.
        observers: told about every generation.

    Attributes:
        report: of the last finished generation.
    """

    def __init__(
        self,
        config: RunConfig,
        target: Target,
        verifier: Verifier,
        drafting: Drafting | None,
        observers: Observers,
    ) -> None:
        self.config = config
        self.target = target
        self.verifier = verifier
        self.drafting = drafting
        self.report: GenerationReport | None = None
        self._observers = observers
        synchronize = torch.cuda.synchronize if target.device.type == "cuda" else None
        self._clock = PhaseClock(synchronize)

    def generate(
        self, prompt_ids: Tensor, max_new_tokens: int | None = None, *, id: str = "", task: str = ""
    ) -> GenerationReport:
        """Generate to the end and return the report; arguments and errors as in ``stream``."""
        for _ in self.stream(prompt_ids, max_new_tokens, id=id, task=task):
            pass
        assert self.report is not None
        return self.report

    @torch.inference_mode()
    def stream(
        self, prompt_ids: Tensor, max_new_tokens: int | None = None, *, id: str = "", task: str = ""
    ) -> Iterator[tuple[int, ...]]:
        """Yield the new token ids of every target pass as they are accepted; then ``report`` is set.

        Args:
            prompt_ids: [T] int64.
            max_new_tokens: length limit; by default the config's.
            id: name of the request in the report.
            task: its task in the report.

        Raises:
            UsageError: the prompt is empty or, with the new tokens, beyond the target's positions.
            SpecframeError: a component failed; the message names it.
        """
        limit = self.config.max_new_tokens if max_new_tokens is None else max_new_tokens
        prompt_ids = prompt_ids.to(self.target.device)
        self._check_request(prompt_ids, limit)
        self._observers.generation_started(self.config)
        recorder, clock, token_ids = GenerationRecorder(), self._clock, list[int]()
        clock.start()
        for emitted in self._guarded(self._steps(prompt_ids, limit, recorder)):
            token_ids.extend(emitted)
            clock.lap("other")
            yield emitted
            clock.lap("consumer")
        drafting = self.drafting
        self.report = recorder.report(
            self.config,
            clock,
            model=self.target.name,
            prompt_tokens=len(prompt_ids),
            token_ids=token_ids,
            text=self.target.tokenizer.decode(token_ids, skip_special_tokens=True),
            finish_reason="eos" if token_ids[-1] in self.target.stop_ids else "length",
            max_depth=drafting.drafter.max_depth if drafting else 0,
            id=id,
            task=task,
        )
        self._observers.generation_finished(self.report)

    def _steps(
        self, prompt_ids: Tensor, limit: int, recorder: GenerationRecorder
    ) -> Iterator[tuple[int, ...]]:
        """Yield what every target pass emits, until a stop id or the length limit."""
        target, drafting, clock = self.target, self.drafting, self._clock
        generator = torch.Generator(device=target.device).manual_seed(self.config.seed)
        strategy = drafting.strategy if drafting and drafting.store else None
        harvest = strategy.harvest_topk if strategy else 0

        target.begin(len(prompt_ids) + limit + (drafting.drafter.max_nodes if drafting else 1))
        prefill = target.prefill(
            prompt_ids,
            chunk=self.config.prefill_chunk,
            harvest_topk=harvest,
            harvest_window=strategy.prompt_window if strategy else 0,
        )
        last = DraftTree.root_only(int(prompt_ids[-1]), target.device)
        verdict = self.verifier.verify(last, prefill.logits[None], generator)
        emitted = self._cut(verdict.emitted_ids, limit)
        clock.lap("prefill")
        yield emitted
        remaining = limit - 1
        if not remaining or self._stops(emitted):
            return

        if drafting:
            drafting.drafter.start(prompt_ids, prefill.features)
            clock.lap("prefill")
            if drafting.store and strategy:
                drafting.store.reset()
                drafting.store.admit(strategy.start(prompt_ids, prefill.topk_ids))
            clock.lap("vocabulary")
        features = prefill.features[-1:]

        while True:
            tree = self._draft(verdict.next_token, features)
            clock.lap("draft_tree")
            target_pass = target.tree_pass(tree)
            clock.lap("target_pass")
            verdict = self.verifier.verify(tree, target_pass.logits, generator)
            emitted = self._cut(verdict.emitted_ids, remaining)
            target.commit(verdict.path)
            features = target_pass.features[list(verdict.path)]
            stats = recorder.record(tree, verdict, emitted, self._covered(verdict), self._active_size())
            clock.lap("other")
            if drafting:
                drafting.drafter.commit(verdict)
                clock.lap("draft_backbone")
                if drafting.store and strategy:
                    topk_ids = top_ids(target_pass.logits, harvest) if harvest else None
                    drafting.store.admit(strategy.observe(verdict, tree, topk_ids))
                    clock.lap("vocabulary")
            self._observers.step_finished(stats)
            yield emitted
            remaining -= len(emitted)
            if not remaining or self._stops(emitted):
                return

    def _draft(self, root: int, features: Tensor) -> DraftTree:
        if self.drafting is None:
            return DraftTree.root_only(root, self.target.device)
        return self.drafting.drafter.draft(root, features, self.drafting.head, self._clock)

    def _cut(self, emitted: tuple[int, ...], remaining: int) -> tuple[int, ...]:
        """Return the emitted ids up to the length limit and the first stop id, that id included."""
        for length, token_id in enumerate(emitted[:remaining], start=1):
            if token_id in self.target.stop_ids:
                return emitted[:length]
        return emitted[:remaining]

    def _stops(self, emitted: tuple[int, ...]) -> bool:
        return emitted[-1] in self.target.stop_ids

    def _covered(self, verdict: Verdict) -> list[bool]:
        """Return for every emitted id whether the drafter could have proposed it."""
        emitted = verdict.emitted_ids
        if self.drafting is None:
            return [False] * len(emitted)
        if self.drafting.store is None:
            return [True] * len(emitted)
        ids = torch.tensor(emitted, device=self.target.device)
        return self.drafting.store.contains(ids).tolist()  # type: ignore[no-any-return]  # tolist() is untyped

    def _active_size(self) -> int:
        if self.drafting is None:
            return 0
        store = self.drafting.store
        return store.size if store else self.drafting.drafter.output_head.vocab_size

    def _check_request(self, prompt_ids: Tensor, limit: int) -> None:
        if prompt_ids.ndim != 1 or len(prompt_ids) == 0:
            raise UsageError("the prompt is empty; allowed: at least one token")
        positions = self.target.max_positions
        if limit < 1:
            raise UsageError(f"max_new_tokens is {limit}; allowed: 1 or more")
        if len(prompt_ids) >= positions:
            raise UsageError(
                f"the prompt has {len(prompt_ids)} tokens; allowed: at most {positions - 1}, since "
                f"{self.target.name} has {positions} positions"
            )
        if len(prompt_ids) + limit > positions:
            raise UsageError(
                f"{len(prompt_ids)} prompt tokens and {limit} new ones exceed the {positions} positions of "
                f"{self.target.name}; allowed: max_new_tokens of at most {positions - len(prompt_ids)}"
            )

    def _guarded(self, steps: Iterator[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
        """Pass the steps on; turn what a component raises into one line that names it."""
        try:
            yield from steps
        except SpecframeError:
            raise
        except Exception as error:
            culprit = self._component_in(error)
            if culprit is None:
                raise
            raise SpecframeError(f"{culprit} raised {type(error).__name__}: {error}") from error

    def _component_in(self, error: Exception) -> str | None:
        """Return the first component that the traceback of an error enters."""
        config, drafting = self.config, self.drafting
        names: list[tuple[object, str]] = [(self.verifier, f"verifier {config.verifier!r}")]
        if drafting:
            names += [
                (drafting.drafter, f"drafter {config.drafter!r}"),
                (drafting.head, f"gather backend {config.gather!r}"),
                (drafting.strategy, f"strategy {config.strategy!r}"),
            ]
        traceback = error.__traceback__
        while traceback:
            caller = traceback.tb_frame.f_locals.get("self")
            for component, name in names:
                if caller is component:
                    return name
            traceback = traceback.tb_next
        return None

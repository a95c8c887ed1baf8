"""What users ask an engine for: one prompt, and where its output ends."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, TypeAlias, TypedDict, get_args

import attrs
import torch
from torch import Tensor
from transformers import LogitsProcessorList, PreTrainedTokenizerBase

from specframe.config import RunConfig
from specframe.contracts.drafted_pass import DraftedPass
from specframe.contracts.kinds import GenerationConfigUse
from specframe.contracts.numbers import is_whole, whole
from specframe.contracts.sampling import SamplingParams
from specframe.contracts.target_logits import TargetLogits
from specframe.errors import UsageError, unknown_name
from specframe.model.target import Target
from specframe.request.prompts import encode_messages, encode_prompt

# Text, messages of a chat with "role" and "content", or token ids: [T] int64, or a sequence of them.
Prompt: TypeAlias = str | Tensor | Sequence[int] | Sequence[Mapping[str, str]]


# What can be counted through and is no sequence of ids.
_NO_IDS = (bytes, bytearray, memoryview, Set, Mapping)

# Told of every target pass what the target says, and after which nodes of its tree tokens were emitted.
Watch: TypeAlias = Callable[[TargetLogits, Sequence[int]], None]
# Told of every target pass what was drafted, and what became of it.
WatchPasses: TypeAlias = Callable[[DraftedPass], None]


class RequestSettings(TypedDict, total=False):
    """What ``Engine.generate`` and ``Engine.stream`` take besides prompt and limit: fields of ``Request``."""

    stop: str | Sequence[str]
    stop_ids: Iterable[int]
    until: Callable[[Sequence[int]], bool] | None
    ignore_eos: bool
    logits_processor: LogitsProcessorList | None
    sampling: SamplingParams | None
    generation_config: GenerationConfigUse | None
    logprobs: int | None
    watch: Watch | None
    watch_passes: WatchPasses | None
    chat: bool | None
    template_args: Mapping[str, Any]
    tools: Sequence[Any]
    turn_of: object | None
    id: str
    task: str


def _texts(stop: str | Sequence[str]) -> tuple[str, ...]:
    texts = (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, Iterable) else (stop,)
    if not all(isinstance(text, str) for text in texts):
        raise UsageError(f"stop is {stop!r}; allowed: a string, or strings")
    return texts


def _ids(stop_ids: Iterable[int]) -> frozenset[int]:
    if not isinstance(stop_ids, Iterable) or isinstance(stop_ids, str | bytes):
        raise UsageError(f"stop_ids is {stop_ids!r}; allowed: token ids")
    return frozenset(whole("a stop id", token_id) for token_id in stop_ids)


def _limit(count: int | None) -> int | None:
    return None if count is None else whole("max_new_tokens", count)


def _logprobs(count: int | None) -> int | None:
    return None if count is None else whole("logprobs", count)


# Fields that may be of one kind alone, and how an error calls it.
_KINDS: tuple[tuple[str, Any, str], ...] = (
    ("until", Callable | None, "a function, or None"),
    ("watch", Callable | None, "a function, or None"),
    ("watch_passes", Callable | None, "a function, or None"),
    ("logits_processor", Iterable | None, "a list of processors, or None"),
    ("chat", bool | None, "True, False or None"),
    ("ignore_eos", bool, "True or False"),
    ("id", str, "a text"),
    ("task", str, "a text"),
)


@attrs.frozen(slots=True, eq=False)
class Request:
    """One prompt, and where its output ends.

    Attributes:
        prompt: text, messages of a chat, or token ids [T].
        max_new_tokens: length limit; None for the config's.
        stop: strings that end the output; the text ends right before the first one. A special token of the
            tokenizer, which no text shows, is looked for among the ids.
        stop_ids: ids that end the output; the text ends right before such a token.
        ignore_eos: go on after ids that end a generation of this target.
        until: asked after every new token with all new ids so far; True ends the output there.
        logits_processor: processors of transformers, or of your own with their interface, to apply besides
            the config's; each must depend on nothing but the ids and scores it is given.
        sampling: how tokens are sampled; None for the config's.
        generation_config: whether the model's generation config counts, ``model`` or ``none``; None for the
            config's.
        logprobs: how many of the target's most likely tokens the report has at every emitted one, with their
            log-probabilities and its own; 0 for its own alone, None for nothing.
        watch: called after every target pass with the target's logits and the nodes after which tokens were
            emitted.
        watch_passes: called after every target pass with its draft tree on the host and what became of it,
            before the tokens are yielded; the prefill, which emits the first token, is no target pass.
        chat: whether a text is wrapped as one user turn; None: if the tokenizer has a chat template.
        template_args: arguments of the chat template, such as ``enable_thinking``, by name.
        tools: descriptions of tools for the chat template, as transformers takes them.
        turn_of: requests with the same object are turns of one conversation: what the caches hold is kept
            as far as the ids agree. None starts from nothing.
        id: name of the request in the report.
        task: its task in the report.

    Raises:
        UsageError: a field is of another type, a limit is below one, or a stop string is empty.
    """

    prompt: Prompt
    max_new_tokens: int | None = attrs.field(default=None, kw_only=True, converter=_limit)
    stop: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=_texts)
    stop_ids: frozenset[int] = attrs.field(default=frozenset(), kw_only=True, converter=_ids)
    ignore_eos: bool = attrs.field(default=False, kw_only=True)
    until: Callable[[Sequence[int]], bool] | None = attrs.field(default=None, kw_only=True)
    logits_processor: LogitsProcessorList | None = attrs.field(default=None, kw_only=True)
    sampling: SamplingParams | None = attrs.field(default=None, kw_only=True)
    generation_config: GenerationConfigUse | None = attrs.field(default=None, kw_only=True)
    logprobs: int | None = attrs.field(default=None, kw_only=True, converter=_logprobs)
    watch: Watch | None = attrs.field(default=None, kw_only=True)
    watch_passes: WatchPasses | None = attrs.field(default=None, kw_only=True)
    chat: bool | None = attrs.field(default=None, kw_only=True)
    template_args: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)
    tools: Sequence[Any] = attrs.field(default=(), kw_only=True)
    turn_of: object | None = attrs.field(default=None, kw_only=True)
    id: str = attrs.field(default="", kw_only=True)
    task: str = attrs.field(default="", kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise UsageError(f"max_new_tokens is {self.max_new_tokens}; allowed: 1 or more")
        if not isinstance(self.sampling, SamplingParams | None):
            raise UsageError(f"sampling is {self.sampling!r}; allowed: SamplingParams, or None")
        for name, kind, allowed in _KINDS:
            if not isinstance(getattr(self, name), kind):
                raise UsageError(f"{name} is {_abridged(getattr(self, name))}; allowed: {allowed}")
        if not all(callable(processor) for processor in self.logits_processor or ()):
            raise UsageError("logits_processor holds something that cannot be called; allowed: processors")
        if self.logprobs is not None and self.logprobs < 0:
            raise UsageError(f"logprobs is {self.logprobs}; allowed: 0 or more")
        if not isinstance(self.template_args, Mapping):
            raise UsageError(f"template_args is {self.template_args!r}; allowed: arguments by name")
        if not isinstance(self.tools, Sequence) or isinstance(self.tools, str):
            raise UsageError(f"tools is {_abridged(self.tools)}; allowed: descriptions of tools")
        if self.generation_config not in (None, *get_args(GenerationConfigUse)):
            known = get_args(GenerationConfigUse)
            raise unknown_name("generation config", str(self.generation_config), known)
        if "" in self.stop:
            raise UsageError("a stop string is empty; allowed: at least one character")

    @classmethod
    def of(cls, prompt: Prompt | Request, max_new_tokens: int | None, settings: RequestSettings) -> Request:
        """Return a request for a prompt, or the given one with settings changed."""
        changed: dict[str, Any] = {**settings}
        if max_new_tokens is not None:
            changed["max_new_tokens"] = max_new_tokens
        return attrs.evolve(prompt, **changed) if isinstance(prompt, Request) else cls(prompt, **changed)

    def encode(self, tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> Tensor:
        """Return the ids of the prompt [T] int64.

        Raises:
            UsageError: the prompt is empty, of another kind, or has an id that the vocabulary has not; or a
                chat is asked for and the tokenizer has no chat template.
        """
        ids = self._encode(tokenizer)
        odd = ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool
        if ids.dim() != 1 or odd or ids.layout != torch.strided or ids.device.type == "meta":
            raise UsageError(
                f"the prompt is a tensor of {ids.dtype} {list(ids.shape)} on {ids.device}"
                f"{'' if ids.layout == torch.strided else f', {ids.layout}'}; allowed: token ids [T] of an "
                "integer type, one prompt at a time"
            )
        if not len(ids):
            raise UsageError("the prompt is empty; allowed: at least one token")
        ids = ids.to(torch.int64)
        lowest, highest = ids.aminmax()
        if lowest < 0 or highest >= vocab_size:
            bad = int(lowest if lowest < 0 else highest)
            raise UsageError(f"the prompt has token id {bad}; allowed: 0 to {vocab_size - 1}")
        return ids

    def _encode(self, tokenizer: PreTrainedTokenizerBase) -> Tensor:
        prompt: Any = self.prompt
        if isinstance(prompt, Tensor):
            self._refuse_template_settings()
            return prompt
        if isinstance(prompt, str):
            return encode_prompt(tokenizer, prompt, self.chat, self.template_args, self.tools)
        if isinstance(prompt, Iterable) and not isinstance(prompt, _NO_IDS):
            entries = list(prompt)
            if entries and all(isinstance(entry, Mapping) for entry in entries):
                return encode_messages(tokenizer, entries, self.template_args, self.tools)
            if all(is_whole(entry) for entry in entries):
                self._refuse_template_settings()
                ids = [operator.index(entry) for entry in entries]
                # What is no int64 is no id of any vocabulary.
                return torch.tensor([max(-(2**63), min(id, 2**63 - 1)) for id in ids], dtype=torch.int64)
        raise UsageError(
            f"the prompt is {_abridged(prompt)}; allowed: text, messages of a chat, or token ids"
        )

    def _refuse_template_settings(self) -> None:
        if self.template_args or self.tools:
            raise UsageError(
                "template arguments and tools are for the chat template, and the prompt is token ids; "
                "allowed: a text, or messages"
            )


def _abridged(value: object) -> str:
    """Return a value as an error shows it."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def fit(request: Request, target: Target, config: RunConfig) -> tuple[Tensor, int]:
    """Return the ids of the prompt [T] on the target's device, and the length limit in tokens.

    Raises:
        UsageError: the prompt cannot be encoded, or does not fit the target's positions with its new tokens.
    """
    prompt_ids = request.encode(target.tokenizer, target.vocab_size)
    limit = request.max_new_tokens or config.max_new_tokens
    prompt, positions = len(prompt_ids), target.max_positions
    if (request.logprobs or 0) > target.vocab_size:
        raise UsageError(
            f"logprobs is {request.logprobs}; allowed: 0 to {target.vocab_size}, the tokens of {target.name}"
        )
    beyond = sorted(one for one in request.stop_ids if not 0 <= one < target.vocab_size)
    if beyond:
        raise UsageError(
            f"stop id {beyond[0]} is no token of {target.name}; allowed: 0 to {target.vocab_size - 1}"
        )
    if prompt >= positions:
        raise UsageError(
            f"the prompt has {prompt} tokens; allowed: at most {positions - 1}, since {target.name} has "
            f"{positions} positions"
        )
    if prompt + limit > positions:
        raise UsageError(
            f"{prompt} prompt tokens and {limit} new ones exceed the {positions} positions of {target.name}; "
            f"allowed: max_new_tokens of at most {positions - prompt}"
        )
    if target.long_from is not None and prompt <= target.long_from < prompt + limit - 1:
        raise UsageError(
            f"{prompt} prompt tokens and {limit} new ones go past {target.long_from} tokens, from which on "
            f"{target.name} rotates all positions differently (longrope); allowed: max_new_tokens of at most "
            f"{target.long_from + 1 - prompt}, or a prompt of more than {target.long_from} tokens"
        )
    return prompt_ids.to(target.device), limit

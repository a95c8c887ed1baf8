"""Strategy ``nanospec``: the context and what the target itself considered, a few hundred tokens.

Source: NanoSpec (2026): the active vocabulary is the tokens of the context united with the top tokens of
the target at the positions it has already computed; training-free and of the paper's capacity 3072.
"""

from __future__ import annotations

import torch
from torch import Tensor

from specframe.contracts.protocols import VocabularyBuilder
from specframe.contracts.tree import DraftTree, Verdict
from specframe.errors import UsageError
from specframe.registry.components import BuildContext
from specframe.vocabulary.token_maps.frequencies import TokenFrequencies
from specframe_plugins.vocabularies.components.nanospec import CORE_SHARE, WINDOW, NanospecOptions
from specframe_plugins.vocabularies.frequencies import find_shipped, token_frequencies
from specframe_plugins.vocabularies.pricing import CALLS, head_price, token_price

# Sizes of a core that measured costs choose among.
_CORES = (256, 512, 1024, 2048, 4096, 8192)
# A token outside the core is outside the active set in so many of ten cases (on a trace of SmolLM2 a core of
# 512 left 4.6 % of the text uncovered, one of 2,048 2.7 %), and then a pass loses so many tokens.
_UNCOVERED, _LOST = 0.2, 0.6
# Tokens that harvesting prompt positions gains a request of some hundred, without a core and with one: the
# share of tau that it keeps on a trace of SmolLM2 (docs/strategies.md).
_WINDOW_GAIN, _WINDOW_GAIN_BESIDE_CORE = 0.35, 0.1


class NanospecVocabulary(VocabularyBuilder):
    """Admits tokens as they turn up; deduplication, slots and eviction are the store's.

    Everything stays in tensors on the target's device, and nothing is remembered between requests.

    Args:
        options: of the strategy.
        pinned_ids: the core and the required ids [n] int64.
        vocab_size: V.
        core: how many tokens form the core.
        window: how many prompt positions to harvest where the options leave it open.
    """

    takes_batches = True

    def __init__(
        self,
        options: NanospecOptions,
        pinned_ids: Tensor,
        vocab_size: int,
        core: int = 0,
        window: int = WINDOW,
    ) -> None:
        self.capacity = options.slots(core, vocab_size)
        self.harvest_topk = min(options.harvest_topk, vocab_size) if options.use_extension else 0
        window = window if options.prompt_window is None else options.prompt_window
        self.prompt_window = window if options.use_extension else 0
        self.eviction = options.eviction
        self.keeps_active_set = options.keep_between_turns
        self.pinned_ids = pinned_ids
        self._use_context = options.use_context
        self._use_extension = options.use_extension
        if len(pinned_ids) >= self.capacity < vocab_size:
            raise UsageError(
                f"capacity {self.capacity} leaves no slot beside the {len(pinned_ids)} pinned ids; allowed: "
                f"more than {len(pinned_ids)}"
            )

    def start(self, prompt_ids: Tensor, target_topk_ids: Tensor | None) -> Tensor:
        """Return the context, then the extension [n]; the last of them stay when there are too many."""
        admitted = [prompt_ids] if self._use_context else []
        if target_topk_ids is not None:
            admitted.append(target_topk_ids.flatten())
        return torch.cat(admitted) if admitted else prompt_ids[:0]

    def observe(self, verdict: Verdict, tree: DraftTree, target_topk_ids: Tensor | None) -> Tensor:
        """Return every node's token and the target's top tokens after it, then the output's tokens [n].

        The target's argmax is the first of its top tokens. What was emitted comes last, to stay longest; the
        root belongs to it, since the first one came from the prompt's last position, before any tree.
        """
        emitted = torch.tensor(verdict.emitted_ids).to(tree.token_ids.device, non_blocking=True)
        return self.observe_batch(tree.token_ids, torch.cat([tree.token_ids[:1], emitted]), target_topk_ids)

    def observe_batch(self, node_ids: Tensor, emitted_ids: Tensor, target_topk_ids: Tensor | None) -> Tensor:
        """Return what ``observe`` does, for many requests at once [n]."""
        admitted = []
        if self._use_extension:
            admitted.append(node_ids)
        if target_topk_ids is not None:
            admitted.append(target_topk_ids.flatten())
        if self._use_context:
            admitted.append(emitted_ids)
        return torch.cat(admitted) if admitted else node_ids[:0]


def _wants_core(options: NanospecOptions, context: BuildContext) -> bool:
    """Return whether any tokens form a core for a target."""
    if options.core is not None:
        return options.core > 0
    return bool(options.frequencies or options.text or find_shipped(context.target, context.data))


def core_size(options: NanospecOptions, context: BuildContext, frequencies: TokenFrequencies) -> int:
    """Return how many tokens form the core: as asked, or what its head calls cost against what it spares.

    Args:
        options: of the strategy.
        context: has the costs, or none.
        frequencies: of the target's tokens.
    """
    if options.core is not None:
        return options.core
    vocab_size, costs = context.target.vocab_size, context.costs
    most = options.slots(_CORES[-1], vocab_size) // 2
    if costs is None or frequencies.counts is None or most < _CORES[0]:
        return options.slots(0, vocab_size) // CORE_SHARE
    covered = frequencies.covered()

    def loss(core: int) -> float:
        """Return the tokens that a pass loses, to rejections and to time."""
        outside = 1 - float(covered[min(core, len(covered)) - 1])
        return _UNCOVERED * outside * CALLS * _LOST + head_price(costs, core)

    return min((core for core in _CORES if core <= most), key=loss)


def window_size(context: BuildContext, core: int) -> int:
    """Return how many prompt positions to harvest by what an LM head over them costs and brings.

    The last position has been through the LM head anyway.

    Args:
        context: has the costs, or none.
        core: how many tokens form the core.
    """
    costs = context.costs
    if costs is None:
        return WINDOW
    gain = _WINDOW_GAIN_BESIDE_CORE if core else _WINDOW_GAIN
    return WINDOW if token_price(costs) * costs.head(WINDOW, None) < gain else 1


def build_admission(options: NanospecOptions, context: BuildContext) -> NanospecVocabulary:
    """Return the strategy for a target; others admit what it does, and more.

    Args:
        options: of the strategy.
        context: the target, and what ships and was measured for it.

    Raises:
        UsageError: an option does not fit the target.
    """
    target, pinned_ids, core = context.target, context.required_ids, 0
    if _wants_core(options, context):
        frequencies = token_frequencies(context, options.frequencies, options.text)
        core = core_size(options, context, frequencies)
        frequent = frequencies.token_ids[:core].to(pinned_ids.device)
        pinned_ids = torch.unique(torch.cat([pinned_ids, frequent]))
    window = window_size(context, core)
    return NanospecVocabulary(options, pinned_ids, target.vocab_size, core, window)

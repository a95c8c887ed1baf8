"""Strategy ``static``: the most frequent tokens, the same for every request.

Sources: FR-Spec (arXiv 2502.14856), section 3: draft over the frequent subset of the vocabulary; 32,768
tokens is the paper's setting. Its size where that is left open: "Balancing Coverage and Draft Latency in
Vocabulary Trimming" (arXiv 2603.05210), the least latency among those that cover enough.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from specframe.contracts.protocols import VocabularyBuilder
from specframe.errors import UsageError
from specframe.registry.components import BuildContext, DoctorRequest, Finding
from specframe.vocabulary.token_maps.frequencies import TokenFrequencies, select_ids
from specframe_plugins.vocabularies.components.static import UNMEASURED, StaticOptions, parse_size_or_auto
from specframe_plugins.vocabularies.frequencies import shipped_frequencies, token_frequencies
from specframe_plugins.vocabularies.pricing import head_price

# What `auto` chooses among, and the least share of the counted tokens that it covers.
_SIZES, _FLOOR = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072), 0.9
# Tokens that a pass loses for each share that the counts leave uncovered: in replays tau falls by 0.3 to 1.6
# of the uncovered share of the text, which is 1.6 to 3 times that of the counts.
_LOST = 1.5


class StaticVocabulary(VocabularyBuilder):
    """Pins its ids, so that they are gathered once and stay in place between requests.

    Args:
        ids: what is active [n] int64.
    """

    takes_batches = True

    def __init__(self, ids: Tensor) -> None:
        self.pinned_ids, self.capacity = ids, len(ids)


def auto_size(context: BuildContext, frequencies: TokenFrequencies) -> int:
    """Return the size that loses the fewest tokens to rejections and to time, of those that cover enough.

    A map without counts is somebody's choice already: it is taken whole, with the required ids.

    Args:
        context: has the costs, or none.
        frequencies: of the target's tokens.
    """
    if frequencies.counts is None:
        lacking = frequencies.lacking(context.required_ids.cpu())
        return len(frequencies.token_ids) + len(lacking)
    costs, vocab_size = context.costs, context.target.vocab_size
    if costs is None:
        return UNMEASURED
    covered = frequencies.covered()

    def share(size: int) -> float:
        return float(covered[min(size, len(covered)) - 1])

    sizes = [*(size for size in _SIZES if size < vocab_size), vocab_size]
    enough = [size for size in sizes if share(size) >= _FLOOR]
    return min(enough, key=lambda size: _LOST * (1 - share(size)) + head_price(costs, size))


def build(options: StaticOptions, context: BuildContext) -> StaticVocabulary:
    """Return the strategy for a target."""
    frequencies = token_frequencies(context, options.frequencies, options.text)
    required_ids = context.required_ids
    size = parse_size_or_auto(options.size)
    if size is None:
        size = auto_size(context, frequencies)
    ids = select_ids(size, frequencies, required_ids.cpu(), context.target.vocab_size)
    return StaticVocabulary(ids.to(required_ids.device))


def diagnose(request: DoctorRequest) -> Iterator[Finding]:
    """Check the token frequencies that ship for the target."""
    if request.target is None:
        return
    subject = "token frequencies"
    try:
        found = shipped_frequencies(request.target, request.data)
    except UsageError as error:
        yield Finding(subject, False, str(error))
        return
    if found is None:
        yield Finding(subject, None, f"none ship for the tokenizer of {request.target.name}")
    else:
        yield Finding(subject, True, f"{len(found.token_ids)} tokens, the tokenizer fits; {found.source}")

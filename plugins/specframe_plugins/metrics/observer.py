"""The observer: counts target passes, and hands the sums to a Prometheus registry."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator

import attrs
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from specframe.config import RunConfig
from specframe.contracts.report import StepStats
from specframe.registry.hookspecs import hookimpl
from specframe_plugins.metrics.counts import Counts, Labels

_LABELS = [field.name for field in attrs.fields(Labels)]

# The first four are vLLM's (`vllm/v1/spec_decode/metrics.py`), the rest those of specframe-vllm.
_COUNTERS: dict[str, tuple[str, Callable[[Counts], int]]] = {
    "vllm:spec_decode_num_drafts": ("Number of spec decoding drafts.", lambda of: of.drafts),
    "vllm:spec_decode_num_draft_tokens": ("Number of draft tokens.", lambda of: of.draft_tokens),
    "vllm:spec_decode_num_accepted_tokens": ("Number of accepted tokens.", lambda of: of.accepted),
    "specframe_target_passes": ("Target passes.", lambda of: of.passes),
    "specframe_emitted_tokens": ("Tokens that they emitted.", lambda of: of.emitted),
    "specframe_covered_tokens": ("Emitted tokens that were active when drafted.", lambda of: of.covered),
    "specframe_oov_rejections": (
        "Passes that ended at a token that was not active.",
        lambda of: of.oov_rejections,
    ),
    "specframe_drafter_misses": ("Passes that ended at one that was.", lambda of: of.drafter_misses),
    "specframe_active_tokens_summed": ("Active tokens, summed over the passes.", lambda of: of.active_summed),
}
_PER_POSITION = "vllm:spec_decode_num_accepted_tokens_per_pos"
_GAUGES: dict[str, tuple[str, Callable[[Counts], float]]] = {
    "specframe_active_tokens": ("Active tokens now.", lambda of: of.active),
    "specframe_coverage": (
        "Share of emitted tokens that were active.",
        lambda of: of.covered / max(of.emitted, 1),
    ),
    "specframe_oov_share": (
        "Share of passes that ended at a token that was not active.",
        lambda of: of.oov_rejections / max(of.passes, 1),
    ),
}


class Metrics:
    """An observer whose sums a registry collects; register it with the plugin manager of the engines.

    Engines in several threads may share one.

    Args:
        registry: of the caller, such as ``prometheus_client.REGISTRY``.

    Raises:
        ValueError: the registry has metrics of these names already.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counts: defaultdict[Labels, Counts] = defaultdict(Counts)
        self._lock = threading.Lock()
        registry.register(self)

    @hookimpl
    def specframe_step_finished(self, stats: StepStats, config: RunConfig) -> None:
        """Add a target pass."""
        with self._lock:
            self._counts[Labels.of(config)].add(stats)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, a sample of each for every target, strategy and drafter."""
        with self._lock:
            yield from [*self._counters(), self._accepted_by_position(), *self._gauges()]

    def _counters(self) -> Iterator[Metric]:
        for name, (about, value) in _COUNTERS.items():
            counter = CounterMetricFamily(name, about, labels=_LABELS)
            for labels, counts in self._counts.items():
                counter.add_metric(attrs.astuple(labels), value(counts))
            yield counter

    def _accepted_by_position(self) -> Metric:
        counter = CounterMetricFamily(
            _PER_POSITION, "Accepted tokens per draft position.", labels=[*_LABELS, "position"]
        )
        for labels, counts in self._counts.items():
            for position in sorted(counts.accepted_at):
                counter.add_metric([*attrs.astuple(labels), str(position)], counts.accepted_at[position])
        return counter

    def _gauges(self) -> Iterator[Metric]:
        for name, (about, value) in _GAUGES.items():
            gauge = GaugeMetricFamily(name, about, labels=_LABELS)
            for labels, counts in self._counts.items():
                gauge.add_metric(attrs.astuple(labels), value(counts))
            yield gauge

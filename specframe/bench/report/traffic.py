"""Estimates from bytes moved and operations done: lower bounds on paper, not measurements.

Every part takes as long as the slower of its memory traffic and its arithmetic:

    seconds = max(bytes / bandwidth, operations / peak)

A draft step is ``levels`` passes through the drafter: level 1 has one node, every later one ``branching``
nodes. Each level reads the drafter's weights, its keys and values, and the head rows that its strategy
leaves. A target pass reads the target's weights, its keys and values, and the full head once. Launches,
softmax, sampling and the host are left out, so a device is slower than this.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Model:
    """The sizes of a target, which an EAGLE-2 drafter of one layer shares.

    Attributes:
        name: of the model.
        vocab_size: V.
        hidden_size: H.
        intermediate_size: width of the MLP.
        heads: attention heads.
        kv_heads: heads of keys and values.
        head_size: width of an attention head.
        layers: of the target.
    """

    name: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_size: int
    layers: int

    @property
    def layer_weights(self) -> int:
        """Weights of one layer: attention and MLP."""
        h = self.hidden_size
        return 2 * h * self.head_size * (self.heads + self.kv_heads) + 3 * h * self.intermediate_size

    @property
    def drafter_weights(self) -> int:
        """Weights read per level besides the head: fc, attention and MLP."""
        return 2 * self.hidden_size**2 + self.layer_weights

    @property
    def cached_per_position(self) -> int:
        """Keys and values of one position in one layer."""
        return 2 * self.kv_heads * self.head_size


@attrs.frozen
class Device:
    """What a data sheet says.

    Attributes:
        name: of the device.
        bandwidth: bytes per second.
        peak: bfloat16 operations per second, dense.
    """

    name: str
    bandwidth: float
    peak: float

    def seconds(self, moved: float, operations: float = 0.0) -> float:
        """Return the roofline of ``moved`` bytes and ``operations``."""
        return max(moved / self.bandwidth, operations / self.peak)


MODELS = (
    Model("Llama-3.1-8B", 128256, 4096, 14336, 32, 8, 128, 32),
    Model("Qwen2.5-7B", 152064, 3584, 18944, 28, 4, 128, 28),
    Model("Gemma-3-270M", 262144, 640, 2048, 4, 1, 256, 18),
    Model("Gemma-3-1B", 262144, 1152, 6912, 4, 1, 256, 26),
    Model("Gemma-3-4B", 262208, 2560, 10240, 8, 4, 256, 34),
    Model("Gemma-3-12B", 262208, 3840, 15360, 16, 8, 256, 48),
    Model("Gemma-3-27B", 262208, 5376, 21504, 32, 16, 128, 62),
)
DEVICES = (
    Device("A100 80GB", 2.04e12, 312e12),
    Device("H100 SXM", 3.35e12, 989e12),
    Device("H200", 4.8e12, 989e12),
)


@attrs.frozen
class Setting:
    """What a draft step does.

    Attributes:
        levels: levels of the draft tree.
        branching: nodes that each level but the first expands; also k.
        context: positions in the KV caches.
        active: K, active tokens of the packed head.
        new: rows fetched per draft step.
        candidates: ids that a draft step hands to ``admit``.
        element: bytes per weight.
        tree_nodes: N of a target pass.
    """

    levels: int = 6
    branching: int = 10
    context: int = 1024
    active: int = 3000
    new: int = 60
    candidates: int = 250
    element: int = 2
    tree_nodes: int = 60

    @property
    def nodes(self) -> list[int]:
        """N of each level."""
        return [1] + [self.branching] * (self.levels - 1)


def admit_bytes(candidates: int, new: int) -> int:
    """Least traffic of ``admit``: ids and their slots are read; owners replaced, old and new entry."""
    return candidates * (8 + 4) + new * (4 + 4 + 4 + 4)


def gather_rows_bytes(new: int, hidden_size: int, element: int) -> int:
    """Least traffic of ``gather_rows``: every new row is read and written, and so are slot and id read."""
    return new * (2 * hidden_size * element + 4 + 4)


def sparse_head_topk_bytes(n: int, rows: int, hidden_size: int, k: int, element: int) -> int:
    """Least traffic of ``sparse_head_topk``: rows and hidden states read once, k pairs written."""
    return (rows + n) * hidden_size * element + n * k * (4 + 8)


def indexed_head_topk_bytes(n: int, rows: int, hidden_size: int, k: int, element: int) -> int:
    """Least traffic of ``indexed_head_topk``: the same, and the id of every row."""
    return sparse_head_topk_bytes(n, rows, hidden_size, k, element) + rows * 4


@attrs.frozen
class DraftTime:
    """Seconds of one draft step.

    Attributes:
        backbone: the drafter without its head, all levels.
        head: the head, all levels.
        vocabulary: admission and fetch.
    """

    backbone: float
    head: float
    vocabulary: float

    @property
    def total(self) -> float:
        """All of it, nothing overlapped."""
        return self.backbone + self.head + self.vocabulary


def draft_time(model: Model, device: Device, setting: Setting, rows: int, new: int) -> DraftTime:
    """Return the estimate for a head of ``rows`` rows, ``new`` of them fetched in this draft step."""
    element, width = setting.element, model.hidden_size
    moved = element * (model.drafter_weights + model.cached_per_position * setting.context)
    k = setting.branching
    return DraftTime(
        backbone=sum(device.seconds(moved, 2 * n * model.drafter_weights) for n in setting.nodes),
        head=sum(
            device.seconds(sparse_head_topk_bytes(n, rows, width, k, element), 2 * n * rows * width)
            for n in setting.nodes
        ),
        vocabulary=device.seconds(
            admit_bytes(setting.candidates, new) + gather_rows_bytes(new, width, element)
        )
        if new
        else 0.0,
    )


def target_pass_time(model: Model, device: Device, setting: Setting) -> float:
    """Return the estimate for one target pass over the draft tree, its full head included."""
    weights = model.layers * model.layer_weights + model.vocab_size * model.hidden_size
    cached = model.layers * model.cached_per_position * setting.context
    return device.seconds(setting.element * (weights + cached), 2 * setting.tree_nodes * weights)

"""An LM head in the metric of a drafter's hidden states: which few numbers of a state decide its logits.

A plain truncated SVD keeps what is large for states of every kind. Those that occur fill a few directions
unevenly: the decomposition of ``weight @ root``, where ``root`` is the square root of the states' second
moment, keeps what is large for them.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import attrs
import torch
from safetensors import safe_open
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.screen import StateSource
from specframe.engine.screen_files import is_made_for, keep_screen, screen_path
from specframe.errors import UsageError
from specframe.ops.notes import note
from specframe.ops.progress_line import ProgressLine
from specframe_plugins.vocabularies.components.lowrank import SCREENED_ROWS

# What a decomposition is called among the files of screens.
_KIND = "metric"
_STATES = 4096
# Of the mean of the second moment's diagonal: makes its root invertible where states are few.
_RIDGE = 1e-3
# The order of the rows needs estimates of logits: from so many columns, for so many states.
_ORDER_RANK, _ORDER_STATES = 64, 1024
# Rows and states at once: bounds the memory for copies in float32.
_ROWS_AT_ONCE, _STATES_AT_ONCE = 16384, 32


@attrs.frozen(slots=True, eq=False)
class StateMetric:
    """The decomposition of an LM head, for factors of any rank.

    Attributes:
        down: states to coordinates, the most important first [H, H] float32.
        lift: rows of the LM head to what they make of the coordinates [H, H] float32.
        shares: how much of the logits' second moment each coordinate carries [H] float32; they sum to 1.
        order: rows of the LM head, those that the drafter finds likeliest in the mean first [V] int64.
    """

    down: Tensor
    lift: Tensor
    shares: Tensor
    order: Tensor

    @classmethod
    def of(cls, head: OutputHead, states: StateSource) -> StateMetric:
        """Return the decomposition of a head: from the cache folder, or made now and kept there.

        Args:
            head: the drafter's.
            states: give the metric, and know what the file is called.
        """
        known = _read(screen_path(_KIND, states), head)
        if known is not None:
            return known
        made = _made(head, states.sample(_STATES))
        order = made.order.int()
        keep_screen(_KIND, head, states, attrs.asdict(made, recurse=False) | {"order": order})
        return made

    def factors(self, head: OutputHead, rank: int, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return ``down`` [H, rank] and ``up`` [V, rank]: logits are near ``hidden @ down @ up.T``.

        Args:
            head: the one that was decomposed.
            rank: how many coordinates to keep.
            rows: rows of the head that ``up`` is for [P] int64; None for all.
        """
        lift = self.lift[:, :rank].to(head.device)
        parts = []
        for begin in range(0, head.vocab_size if rows is None else len(rows), _ROWS_AT_ONCE):
            end = begin + _ROWS_AT_ONCE
            part = head.weight.detach()[begin:end] if rows is None else head.rows(rows[begin:end])
            parts.append((part.float() @ lift).to(head.dtype))
        return self.down[:, :rank].to(head.device, head.dtype), torch.cat(parts)


def screened_rows(wanted: int | None, width: int, head: OutputHead) -> int:
    """Return how many of the likeliest rows to screen.

    Args:
        wanted: what the user says; None for ``SCREENED_ROWS``, or as many as there are.
        width: how many candidates a state gets.
        head: the LM head.

    Raises:
        UsageError: it has not so many, or they are fewer than the candidates.
    """
    rows = min(max(SCREENED_ROWS, width), head.vocab_size) if wanted is None else wanted
    if not width <= rows <= head.vocab_size:
        raise UsageError(
            f"{rows} rows of an LM head of {head.vocab_size} are screened for {width} candidates; allowed: "
            f"{width} to {head.vocab_size} rows"
        )
    return rows


def _made(head: OutputHead, states: Tensor) -> StateMetric:
    began, (vocab_size, hidden_size) = perf_counter(), (head.vocab_size, head.hidden_size)
    states, weight = states.to(head.device), head.weight.detach()
    gram = torch.zeros(hidden_size, hidden_size, device=head.device)
    with ProgressLine("decomposing an LM head", vocab_size, unit="rows") as progress:
        for begin in range(0, vocab_size, _ROWS_AT_ONCE):
            rows = weight[begin : begin + _ROWS_AT_ONCE].float()
            gram += rows.T @ rows
            progress.update(begin + len(rows))
    moment = (states.T @ states / len(states)).double()
    moment.diagonal().add_(_RIDGE * moment.diagonal().mean())
    values, vectors = torch.linalg.eigh(moment)
    root, inverse = vectors * values.sqrt() @ vectors.T, vectors / values.sqrt() @ vectors.T
    energies, basis = torch.linalg.eigh(root @ gram.double() @ root)
    energies, basis = energies.flip(0).clamp(min=0), basis.flip(1)
    metric = StateMetric(
        down=(inverse @ basis).float().cpu(),
        lift=(root @ basis).float().cpu(),
        shares=(energies / energies.sum()).float().cpu(),
        order=torch.arange(vocab_size),
    )
    likely = torch.zeros(vocab_size, device=head.device)
    down, up = metric.factors(head, min(_ORDER_RANK, hidden_size))
    some = states[torch.linspace(0, len(states) - 1, min(_ORDER_STATES, len(states))).long()]
    with ProgressLine("likely rows of an LM head", len(some), unit="states") as progress:
        for done, part in enumerate(some.to(head.dtype).split(_STATES_AT_ONCE)):
            estimates = torch.nn.functional.linear(part @ down, up, head.bias)
            likely += head.finish(estimates.float()).softmax(dim=-1).sum(dim=0)
            progress.update(done * _STATES_AT_ONCE + len(part))
    spent = perf_counter() - began
    note(f"decomposed an LM head of {vocab_size:,} rows ({spent:.0f} s)")
    return attrs.evolve(metric, order=likely.cpu().argsort(descending=True, stable=True))


def _read(path: Path, head: OutputHead) -> StateMetric | None:
    """Return what is kept for a head, or None where nothing of use is."""
    if not is_made_for(path, head):
        return None
    vocab_size, hidden_size = head.vocab_size, head.hidden_size
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {field.name: file.get_tensor(field.name) for field in attrs.fields(StateMetric)}
    except Exception:  # whatever is wrong with the file, it is made again
        return None
    square = (hidden_size, hidden_size)
    shapes = {"down": square, "lift": square, "shares": (hidden_size,), "order": (vocab_size,)}
    if any(tensors[name].shape != shape for name, shape in shapes.items()):
        return None
    floats = [tensors[name] for name in ("down", "lift", "shares")]
    if not all(one.dtype == torch.float32 and bool(one.isfinite().all()) for one in floats):
        return None
    # Every row once.
    if not torch.equal(tensors["order"].sort().values, torch.arange(vocab_size, dtype=torch.int32)):
        return None
    return StateMetric(**tensors | {"order": tensors["order"].long()})

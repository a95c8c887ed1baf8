"""The conformance check of screens."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs
import torch
from torch import Tensor

from specframe.contracts.lm_head import OutputHead
from specframe.contracts.screen import Candidates, Screen
from specframe.testing.promises import alone, called, made_by, require, require_contract, require_tensor
from specframe.testing.reference import generator, random_head


@attrs.frozen(slots=True, eq=False)
class RandomStates:
    """The ``StateSource`` of a check: states whose first columns matter most, as those of a drafter's do.

    Attributes:
        states: [n, H] float32.
        key: of these states and their head.
    """

    states: Tensor
    key: str

    @classmethod
    def of(cls, head: OutputHead, key: str, source: torch.Generator, count: int = 200) -> RandomStates:
        """Return ``count`` states for a head."""
        spread = torch.linspace(1.0, 0.05, head.hidden_size)
        return cls(spread * torch.randn(count, head.hidden_size, generator=source), key)

    def sample(self, count: int) -> Tensor:
        """Return at most ``count`` states."""
        return self.states[:count].clone()


@alone
def check_screen(
    make_screen: Callable[[], Screen],
    device: torch.device | str = "cpu",
    dtypes: Iterable[torch.dtype] = (torch.float32, torch.bfloat16),
    *,
    vocab_size: int = 509,
    hidden_size: int = 64,
) -> None:
    """Check that a screen keeps its promises on LM heads with and without bias, scale and soft-cap.

    How good its candidates are is not checked: any of them keep the output the target's.

    Args:
        make_screen: returns a new, unbound screen.
        device: where to run it.
        dtypes: of the LM heads to run it with.
        vocab_size: rows of these heads; at least the screen's width.
        hidden_size: H of these heads.

    Raises:
        BrokenPromise: it breaks a promise of ``Screen``.
    """
    source = generator()
    for dtype in dtypes:
        for biased, scale, softcap in ((False, 1.0, None), (True, 0.5, 3.0)):
            head = random_head(
                source, torch.device(device), dtype, biased, scale, softcap, (vocab_size, hidden_size)
            )
            # Keys differ as the heads do, so that nothing that is kept for one is taken for another.
            key = f"check{dtype}{biased}{vocab_size}x{hidden_size}".replace(".", "")
            _check_on(made_by(make_screen), head, RandomStates.of(head, key, source), source)


def _check_on(screen: Screen, head: OutputHead, states: RandomStates, source: torch.Generator) -> None:
    require_contract(screen, Screen)
    require(
        type(screen.width) is int and 1 <= screen.width <= head.vocab_size,
        f"width is {screen.width!r}; allowed: 1 to the {head.vocab_size} rows of the head",
    )
    weight, bias = head.weight.clone(), None if head.bias is None else head.bias.clone()
    called(screen, "bind", head, states)

    def hidden(n: int) -> Tensor:
        return torch.randn(n, head.hidden_size, generator=source).to(head.weight)

    for n in (1, 3, 17):
        asked = hidden(n)
        found = called(screen, "screen", asked.clone())
        _check_candidates(found, asked, screen.width, head)
        for k in (1, min(3, screen.width)):
            _check_candidates(
                called(screen, "screen_topk", asked, k), asked, screen.width, head, "screen_topk"
            )
        kept = found.rows.clone()
        called(screen, "screen", hidden(n))
        require(
            torch.equal(found.rows, kept),
            "screen() wrote into the rows that it returned before; they are kept until the draft is over",
        )
        require(
            torch.equal(_sorted(called(screen, "screen", asked)), _sorted(found)),
            "screen() found other rows for the same states: it must remember nothing",
        )
        others = hidden(n)
        others[-1] = asked[-1]
        require(
            torch.equal(_sorted(called(screen, "screen", others))[-1], _sorted(found)[-1]),
            "screen() found other rows for a state among other states: each is screened by itself",
        )
    same = torch.equal(head.weight, weight) and (bias is None or torch.equal(head.bias, bias))  # type: ignore[arg-type]  # a head keeps its bias
    require(same, "the screen changed the LM head")
    held = called(screen, "held")
    require(
        isinstance(held, tuple) and all(isinstance(one, Tensor) for one in held),
        "held() must return a tuple of tensors",
    )


def _check_candidates(
    found: Candidates, hidden: Tensor, width: int, head: OutputHead, method: str = "screen"
) -> None:
    """Check what was found for states [N, H]."""
    require(
        isinstance(found, Candidates),
        f"{method}() returned a {type(found).__name__}; it must be Candidates",
    )
    rows, n, vocab_size = found.rows, len(hidden), head.vocab_size
    require_tensor(rows, "rows", torch.int64, (None, None), hidden.device)
    require(
        rows.shape == (n, width),
        f"rows has shape {list(rows.shape)} for {n} states; it must be {[n, width]}, with -1 for none",
    )
    wrong = (rows < -1) | (rows >= vocab_size)
    require(
        not wrong.any(), f"rows holds {rows[wrong][:1].tolist()}; allowed: -1 for none, 0 to {vocab_size - 1}"
    )
    require((rows >= 0).any(dim=1).all(), "rows holds nothing for a state: there must be one row at least")
    ordered = rows.sort(dim=1).values
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    require(not twice.any(), f"rows holds {ordered[:, 1:][twice][:1].tolist()} twice for one state")
    total = found.log_total
    require(
        total is None or (isinstance(total, Tensor) and total.shape == (n,) and total.dtype == torch.float32),
        f"log_total must be [{n}] float32, or None",
    )
    require(total is None or bool(total.isfinite().all()), "log_total is not finite")
    exact = head.candidate_logits(hidden, rows)
    # What half precision rounds away of logits, and an estimate of a sum may be off by.
    near = 0.05 * (1 + exact.masked_fill(rows < 0, 0.0).abs().amax(dim=1))
    require(
        total is None or (total >= exact.logsumexp(dim=1) - near).all(),
        "log_total is below the log-sum-exp of the candidates alone: it is that of all rows",
    )
    logits = found.logits
    require(
        logits is None
        or (isinstance(logits, Tensor) and logits.shape == rows.shape and logits.dtype == torch.float32),
        f"logits must be {list(rows.shape)} float32, or None",
    )
    require(
        logits is None or ((logits - exact).abs() <= near[:, None])[rows >= 0].all(),
        "logits are not those of the rows: estimates are for choosing rows",
    )


def _sorted(found: Candidates) -> Tensor:
    return found.rows.sort(dim=1).values

"""What an LM head is asked: found out when an answer is missing, whose fault that is."""

from __future__ import annotations

from torch import Tensor

from specframe.contracts.faults import WrongCall
from specframe.contracts.lm_head import OutputHead


def check_question(head: OutputHead, hidden: Tensor, k: int | None = None, most: int | None = None) -> None:
    """See whether hidden states are what an LM head can be asked for.

    Args:
        head: is asked.
        hidden: states [N, H].
        k: how many tokens are asked for; None for all.
        most: how many there are.

    Raises:
        WrongCall: they are not, or k is no number of tokens.
    """
    wanted = f"[N, {head.hidden_size}] {head.dtype} on {head.device}"
    if not isinstance(hidden, Tensor):
        raise WrongCall(f"asks the LM head about a {type(hidden).__name__}; allowed: hidden states {wanted}")
    fits = hidden.dim() == 2 and hidden.shape[1] == head.hidden_size
    if not (fits and hidden.dtype == head.dtype and hidden.device == head.device):
        given = f"{list(hidden.shape)} {hidden.dtype} on {hidden.device}"
        raise WrongCall(f"asks the LM head about {given}; allowed: hidden states {wanted}")
    if k is not None and (type(k) is not int or k < 0 or (most is not None and k > most)):
        allowed = "a whole number" if most is None else f"0 to {most}, its rows"
        raise WrongCall(f"asks the LM head for the {k!r} best tokens; allowed: {allowed}")

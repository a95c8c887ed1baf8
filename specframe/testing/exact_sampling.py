"""A statistical conformance check for verifiers that sample: what they emit follows the target."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable

import attrs
import torch
from torch import Tensor

from specframe.contracts.kinds import TreeKind
from specframe.contracts.protocols import Verifier
from specframe.contracts.sampled_tree import SampledShape, SampledTree
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree
from specframe.testing.promises import BrokenPromise, alone, called
from specframe.testing.verifier import check_verdict

_VOCAB_SIZE, _DEPTH, _BRANCHING, _LENGTH = 4, 2, 2, 2

Tokens = tuple[int, ...]


@attrs.frozen(slots=True)
class Fit:
    """How well counts fit a distribution.

    Attributes:
        p_value: probability of counts at least this far off, if they follow the distribution.
        total_variation: half the sum of absolute differences between frequencies and probabilities.
    """

    p_value: float
    total_variation: float


@alone
def check_exact_sampling(
    verifier: Verifier, trees: Iterable[TreeKind], *, draws: int = 6000, seed: int = 20260731
) -> None:
    """Check that the tokens a verifier emits follow the target, by Pearson's chi-square test.

    The target and the drafter are tables over four tokens, the drafter knows three of them. Trees are drawn,
    verified, and where fewer than two tokens come out, the target goes on. The first two tokens have sixteen
    outcomes; with the default number of draws, a distribution that is off by 0.07 in total variation is found
    with a probability above 0.99, and a right one fails once in a million times.

    Args:
        verifier: as its factory returns it.
        trees: the kinds of draft trees that its component declares.
        draws: target passes per kind of tree.
        seed: of everything that is drawn.

    Raises:
        BrokenPromise: for some kind of tree, the tokens do not follow the target, or there are none.
    """
    for kind in trees:
        fit = fit_to(*sample(verifier, kind, draws, seed))
        if fit.p_value < 1e-6:
            raise BrokenPromise(
                f"with trees of kind {kind!r}, the emitted tokens do not follow the target: total variation "
                f"{fit.total_variation:.3f} after {draws} draws, chi-square p-value {fit.p_value:.1e}"
            )


def sample(
    verifier: Verifier, kind: TreeKind, draws: int, seed: int
) -> tuple[Counter[Tokens], dict[Tokens, float]]:
    """Return how often the first two tokens came out, and their probabilities.

    Args:
        verifier: is called ``draws`` times.
        kind: of the draft trees.
        draws: how many trees.
        seed: of everything that is drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    logits = {
        tokens: 1.2 * torch.randn(_VOCAB_SIZE, generator=generator)
        for length in range(_DEPTH + 1)
        for tokens in itertools.product(range(_VOCAB_SIZE), repeat=length)
    }
    # Near the target, as a drafter is, so that every decision of a verifier is taken often.
    drafter = {tokens: row[:-1] + 0.6 * torch.randn(3, generator=generator) for tokens, row in logits.items()}
    counts: Counter[Tokens] = Counter()
    for _ in range(draws):
        tree = _draft(kind, drafter, generator)
        raw = torch.stack([logits[tokens] for tokens in _tokens_of_nodes(tree)])
        verdict = called(verifier, "verify", tree, TargetLogits(raw, tree), generator)
        check_verdict(verdict, tree, _VOCAB_SIZE)
        emitted = verdict.emitted_ids[:_LENGTH]
        while len(emitted) < _LENGTH:
            p = torch.softmax(logits[emitted], dim=-1)
            emitted = (*emitted, int(torch.multinomial(p, 1, generator=generator)))
        counts[emitted] += 1
    probabilities: dict[Tokens, float] = {
        (first, second): float(
            torch.softmax(logits[()], dim=-1)[first] * torch.softmax(logits[first,], dim=-1)[second]
        )
        for first, second in itertools.product(range(_VOCAB_SIZE), repeat=2)
    }
    return counts, probabilities


def fit_to(counts: Counter[Tokens], probabilities: dict[Tokens, float]) -> Fit:
    """Return how well counts fit probabilities; outcomes expected fewer than five times count as one.

    Raises:
        ValueError: no two outcomes are left to compare.
    """
    draws = counts.total()
    rare = [key for key, probability in probabilities.items() if probability * draws < 5.0]
    common = [key for key in probabilities if key not in rare]
    observed = [float(counts[key]) for key in common] + [float(sum(counts[key] for key in rare))]
    expected = [probabilities[key] * draws for key in common] + [
        sum(probabilities[key] for key in rare) * draws
    ]
    if expected[-1] == 0.0:
        impossible = observed.pop() > 0.0
        expected.pop()
    else:
        impossible = any(key not in probabilities for key in counts)
    if len(observed) < 2:
        raise ValueError(f"{draws} draws are too few for {len(probabilities)} outcomes")
    statistic = sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))
    halves = torch.tensor([(len(observed) - 1) / 2, statistic / 2], dtype=torch.float64)
    p_value = 0.0 if impossible else float(torch.special.gammaincc(halves[0], halves[1]))
    off = sum(abs(counts[key] / draws - probabilities.get(key, 0.0)) for key in {*counts, *probabilities})
    return Fit(p_value, off / 2)


def _draft(kind: TreeKind, drafter: dict[Tokens, Tensor], generator: torch.Generator) -> DraftTree:
    """Return a tree of a kind over the first three tokens, drawn from the drafter's logits [3]."""
    if kind == "top-k":
        return _most_likely(drafter)
    active_ids = torch.arange(_VOCAB_SIZE - 1)
    shape = SampledShape.of(kind, depth=_DEPTH, branching=_BRANCHING, nodes=1 + _DEPTH * _BRANCHING)
    tree = SampledTree(0, shape, 1.0, generator)
    beams: list[Tokens] = [()]
    for level in range(_DEPTH):
        if level:
            chosen = tree.select_beams()
            parents = chosen.rows.tolist()
            beams = [
                (*beams[row], token) for row, token in zip(parents, chosen.token_ids.tolist(), strict=True)
            ]
        tree.add_level(torch.stack([drafter[tokens] for tokens in beams]), active_ids)
    return tree.build()


def _most_likely(drafter: dict[Tokens, Tensor]) -> DraftTree:
    """Return the tree of the two most likely children of every node."""
    nodes: list[Tokens] = [()]
    for tokens in nodes:
        if len(tokens) < _DEPTH:
            nodes += [(*tokens, child) for child in drafter[tokens].topk(_BRANCHING).indices.tolist()]
    number = {tokens: node for node, tokens in enumerate(nodes)}
    return DraftTree(
        torch.tensor([0, *(tokens[-1] for tokens in nodes[1:])]),
        torch.tensor([-1, *(number[tokens[:-1]] for tokens in nodes[1:])]),
        torch.tensor([len(tokens) for tokens in nodes]),
        torch.zeros(len(nodes)),
    )


def _tokens_of_nodes(tree: DraftTree) -> list[Tokens]:
    """Return the tokens below the root down to each node."""
    nodes: list[Tokens] = [()]
    for token, parent in list(zip(tree.token_ids.tolist(), tree.parents.tolist(), strict=True))[1:]:
        nodes.append((*nodes[parent], token))
    return nodes

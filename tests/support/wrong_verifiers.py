"""Verifiers with one mistake each, which the exactness tests must find."""

from __future__ import annotations

import torch
from torch import Generator

from specframe.contracts.kinds import TreeKind
from specframe.contracts.protocols import Verifier
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree, Verdict
from specframe_plugins.verifiers.acceptance import drawing
from specframe_plugins.verifiers.acceptance.block import accept_block
from specframe_plugins.verifiers.acceptance.sampled_tree import SampledTreeOnHost
from specframe_plugins.verifiers.acceptance.tree_walk import walk


class ForgetsTheResidual(Verifier):
    """Draws the recovered token from the target itself."""

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        sampled = SampledTreeOnHost(tree, target.raw.shape[1])

        def choose(node: int) -> int:
            p = target.probabilities(node).double()
            for token in sampled.candidates(node):
                q = sampled.distribution(node)
                if drawing.accepts(float(p[token] / q[token]), generator):
                    return token
            return drawing.draw(p, generator)

        return walk(sampled, choose)


class AcceptsByTheDrafter(Verifier):
    """Accepts with probability p(x), as if the candidate had been drawn uniformly."""

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        sampled = SampledTreeOnHost(tree, target.raw.shape[1])

        def choose(node: int) -> int:
            p = target.probabilities(node).double()
            for token in sampled.candidates(node):
                if drawing.accepts(float(p[token]), generator):
                    return token
                rest = (p - sampled.distribution(node)).clamp(min=0.0)
                p = rest / rest.sum() if rest.sum() > 0.0 else p
            return drawing.draw(p, generator)

        return walk(sampled, choose)


class RecoversTheWrongWayRound(Verifier):
    """Draws the recovered token from (q - p)+."""

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        sampled = SampledTreeOnHost(tree, target.raw.shape[1])

        def choose(node: int) -> int:
            p = target.probabilities(node).double()
            candidates = sampled.candidates(node)
            if not candidates:
                return drawing.draw(p, generator)
            q = sampled.distribution(node)
            if drawing.accepts(float(p[candidates[0]] / q[candidates[0]]), generator):
                return candidates[0]
            rest = (q - p).clamp(min=0.0)
            return drawing.draw(rest if rest.sum() > 0.0 else p, generator)

        return walk(sampled, choose)


class ForgetsWhatWasDrawn(Verifier):
    """Offers children that were drawn without replacement as if each came from the whole of q."""

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        sampled = SampledTreeOnHost(tree, target.raw.shape[1])

        def choose(node: int) -> int:
            p = target.probabilities(node).double()
            for token in sampled.candidates(node):
                q = sampled.distribution(node)
                if drawing.accepts(float(p[token] / q[token]), generator):
                    return token
                rest = (p - q).clamp(min=0.0)
                p = rest / rest.sum() if rest.sum() > 0.0 else p
            return drawing.draw(p, generator)

        return walk(sampled, choose)


class TakesTheFirstPathForASample(Verifier):
    """Chooses the path that the target likes best and verifies it as if it had been the only one."""

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        sampled = SampledTreeOnHost(tree, target.raw.shape[1])

        def liking(path: tuple[int, ...]) -> float:
            above = (0, *path[:-1])
            return sum(
                float(target.probabilities(node)[sampled.token_ids[child]].log())
                for node, child in zip(above, path, strict=True)
            )

        nodes = [0, *max(sampled.paths, key=liking)] if sampled.paths else [0]
        block = accept_block(
            [sampled.token_ids[node] for node in nodes[1:]],
            [target.probabilities(node).double() for node in nodes],
            [sampled.distribution(node) for node in nodes[:-1]],
            generator,
        )
        return sampled.verdict(nodes[: block.accepted + 1], drawing.draw(block.remaining, generator))


class AcceptsBlocksTokenByToken(Verifier):
    """Accepts a block by its joint weight, but recovers with the weight of single tokens."""

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        sampled = SampledTreeOnHost(tree, target.raw.shape[1])
        nodes = [0, *(sampled.paths[0] if sampled.paths else ())]
        p = [target.probabilities(node).double() for node in nodes]
        q = [sampled.distribution(node) for node in nodes[:-1]]
        block = accept_block([sampled.token_ids[node] for node in nodes[1:]], p, q, generator)
        at = block.accepted
        remaining = block.remaining if at == len(q) else (p[at] - q[at]).clamp(min=0.0)
        return sampled.verdict(
            nodes[: at + 1], drawing.draw(remaining if remaining.sum() > 0 else p[at], generator)
        )


class TargetOffByOneNode(Verifier):
    """Reads the target after the parent of each node."""

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        sampled = SampledTreeOnHost(tree, target.raw.shape[1]) if tree.sampled_from else None
        on_host = sampled or SampledTreeOnHost(
            DraftTree.root_only(int(tree.token_ids[0])), target.raw.shape[1]
        )
        return walk(
            on_host,
            lambda node: drawing.draw(target.probabilities(max(on_host.parents[node], 0)), generator),
        )


class SharpensTheTarget(Verifier):
    """Samples the target at a lower temperature than it was asked to."""

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        sampled = SampledTreeOnHost(tree, target.raw.shape[1])
        return walk(sampled, lambda node: drawing.draw(torch.pow(target.probabilities(node), 1.6), generator))


MUTANTS: list[tuple[type[Verifier], TreeKind, int]] = [
    (ForgetsTheResidual, "paths", 2),
    (AcceptsByTheDrafter, "paths", 2),
    (RecoversTheWrongWayRound, "chain", 1),
    (ForgetsWhatWasDrawn, "without-replacement", 2),
    (TakesTheFirstPathForASample, "paths", 2),
    (AcceptsBlocksTokenByToken, "chain", 1),
    (TargetOffByOneNode, "paths", 2),
    (SharpensTheTarget, "paths", 2),
]

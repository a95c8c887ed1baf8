"""A world for a controller: what passes cost and what a text accepts, by a clock that only the test moves."""

from __future__ import annotations

import random
from collections import Counter

import attrs

from specframe.contracts.report import Arm
from specframe.engine.drafting.controller import Controller


@attrs.define
class World:
    """Chains of three drafted tokens over a text of which some tokens are outside the active set.

    Attributes:
        hit: chance that the drafter finds a token that it may propose.
        oov: chance that the next token is outside the active set.
        alone: seconds of a pass without a draft.
        tree: seconds of a target pass over a tree.
        rest: seconds of everything else in a drafted step, per arm.
        spared: share of the OOV tokens that a grown active set has.
        noise: relative standard deviation of all times.
    """

    hit: float = 0.5
    oov: float = 0.05
    alone: float = 0.020
    tree: float = 0.028
    rest: dict[Arm, float] = attrs.field(factory=lambda: {"pruned": 0.006, "grown": 0.007, "full": 0.012})
    spared: float = 0.5
    noise: float = 0.05

    def step(self, arm: Arm, source: random.Random) -> tuple[list[bool], bool]:
        """Return for every emitted token whether it was covered, and whether the path ended at a leaf."""
        covered: list[bool] = []
        for _ in range(3):
            outside = source.random() < self.oov
            reached = arm == "full" or (arm == "grown" and source.random() < self.spared)
            # A grown active set is the one that counts as the strategy's while it is there.
            covered.append(not outside or (arm == "grown" and reached))
            if not ((not outside or reached) and source.random() < self.hit):
                return covered, False
        return [*covered, source.random() >= self.oov], True

    def tokens(self, arm: Arm) -> float:
        """Return the expected tokens per pass of an arm."""
        if arm == "stopped":
            return 1.0
        outside = self.oov * {"pruned": 1.0, "grown": 1 - self.spared, "full": 0.0}[arm]
        hit = self.hit * (1 - outside)
        return 1 + hit + hit**2 + hit**3

    def seconds(self, arm: Arm) -> float:
        """Return the expected seconds of a pass of an arm."""
        return self.alone if arm == "stopped" else self.tree + self.rest[arm]

    def rate(self, arm: Arm) -> float:
        """Return the expected tokens per second of an arm."""
        return self.tokens(arm) / self.seconds(arm)

    @property
    def best(self) -> Arm:
        """The arm with the most tokens per second."""
        arms: tuple[Arm, ...] = (*self.rest, "stopped")
        return max(arms, key=self.rate)


@attrs.define
class Run:
    """What a controller did in a world.

    Attributes:
        arms: of every pass.
        tokens: emitted.
        seconds: spent.
    """

    arms: list[Arm] = attrs.field(factory=list)
    tokens: int = 0
    seconds: float = 0.0

    def share(self, arm: Arm) -> float:
        """Return the share of the passes that an arm had."""
        return Counter(self.arms)[arm] / len(self.arms)

    @property
    def changes(self) -> int:
        """How often the arm changed."""
        return sum(a != b for a, b in zip(self.arms, self.arms[1:], strict=False))


def run(controller: Controller, world: World, passes: int, seed: int = 0) -> Run:
    """Let a controller choose for so many passes."""
    source, done = random.Random(seed), Run()
    for _ in range(passes):
        arm = controller.choose()
        scale = max(source.gauss(1.0, world.noise), 0.1)
        if arm == "stopped":
            controller.observe_stopped({"target_pass": world.alone * scale})
            emitted, spent = 1, world.alone * scale
        else:
            covered, at_leaf = world.step(arm, source)
            seconds = {"target_pass": world.tree * scale, "draft_head": world.rest[arm] * scale}
            controller.observe(arm, {**seconds, "consumer": 9.0}, covered, at_leaf)
            emitted, spent = len(covered), sum(seconds.values())
        done.arms.append(arm)
        done.tokens += emitted
        done.seconds += spent
    return done

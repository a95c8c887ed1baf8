"""A verifier as the engine calls it."""

from __future__ import annotations

from torch import Generator

from specframe.contracts.called.members import check_members
from specframe.contracts.faults import Owner
from specframe.contracts.protocols import Verifier
from specframe.contracts.target_logits import TargetLogits
from specframe.contracts.tree import DraftTree, Verdict


class CalledVerifier(Verifier):
    """Calls a verifier; what its verdict says of the tree is checked where both are known.

    Args:
        verifier: is called.
        owner: whose it is.
    """

    def __init__(self, verifier: Verifier, owner: Owner) -> None:
        check_members(owner, verifier, Verifier)
        self.component, self.owner = verifier, owner
        self._in_verify = owner.blame("verify()")

    @classmethod
    def of(cls, verifier: Verifier) -> CalledVerifier:
        """Return a verifier as it is called, whether it is wrapped already or not."""
        if isinstance(verifier, cls):
            return verifier
        return cls(verifier, Owner("verifier", type(verifier).__name__))

    def verify(self, tree: DraftTree, target: TargetLogits, generator: Generator | None) -> Verdict:
        """Return the verdict."""
        with self._in_verify:
            verdict = self.component.verify(tree, target, generator)
        if type(verdict) is not Verdict:  # what another class says it emits may be anything
            raise self.owner.fault(f"returned {type(verdict).__name__} from verify(); allowed: Verdict")
        return verdict

"""The active vocabulary: membership, slots, and the drafter's LM head over it."""

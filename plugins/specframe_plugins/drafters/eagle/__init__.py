"""The EAGLE drafter: architecture, checkpoints, draft tree and training."""

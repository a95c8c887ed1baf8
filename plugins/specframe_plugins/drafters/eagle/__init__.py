"""The EAGLE drafter: architecture, checkpoints and training."""

"""specframe as a model of lm-evaluation-harness, and the command that runs it."""

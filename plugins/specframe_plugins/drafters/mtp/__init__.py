"""The drafter ``mtp``: the multi-token-prediction layer that ships inside a target's checkpoint."""

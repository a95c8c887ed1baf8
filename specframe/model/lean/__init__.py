"""A decoder's forward with as few operations as it needs, for the common layer types."""

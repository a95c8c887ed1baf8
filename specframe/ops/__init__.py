"""Tensor operations and other tools that know nothing of decoding."""

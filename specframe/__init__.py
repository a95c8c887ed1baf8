"""Vocabulary-pruned speculative decoding with plugins."""

from importlib.metadata import version

__version__ = version("specframe")

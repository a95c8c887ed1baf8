"""Transformers models as targets: loading, forwards, caches."""

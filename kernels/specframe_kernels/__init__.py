"""Triton kernels, one operation per folder, each with a naive reference beside it."""

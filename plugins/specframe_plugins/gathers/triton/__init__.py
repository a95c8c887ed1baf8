"""Gather backends ``triton`` and ``triton-indexed``: kernels of ours, and an active set on the device."""

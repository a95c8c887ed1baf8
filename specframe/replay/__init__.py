"""Offline replay: what a vocabulary strategy saw is recorded once, and any strategy is scored from it."""

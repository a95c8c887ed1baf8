"""Plugins: hooks, components, and who registered what."""

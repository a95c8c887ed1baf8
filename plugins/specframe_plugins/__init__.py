"""The built-in components, registered through the same entry point as a stranger's package."""

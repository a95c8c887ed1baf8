"""Built-in gather backends."""

"""Built-in vocabulary strategies."""

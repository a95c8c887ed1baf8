"""Strategy ``retrieval``: tokens of the context bring others with them."""

"""``admit``: candidate ids become active, without one read on the host."""

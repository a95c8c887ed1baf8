"""Training of an EAGLE head on text that the target writes itself."""

"""Drafting from the context itself: what followed the last time that the same tokens stood there."""

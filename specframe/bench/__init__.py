"""``specframe bench``: configurations compared on task prompts, with checks that keep the figures honest."""

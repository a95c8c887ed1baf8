"""The drafter ``eagle3``: a head on the features of several target layers (EAGLE-3, arXiv 2503.01840)."""

"""Where each token of a generation came from: on a terminal, and as a page with every draft tree."""

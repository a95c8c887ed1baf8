"""``gather_rows``: the head rows of newly active tokens, copied into their slots."""

"""``indexed_head_topk``: log-softmax and top-k over rows of the full head, read by index."""

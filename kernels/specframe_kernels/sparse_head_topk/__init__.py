"""``sparse_head_topk``: log-softmax and top-k over the packed head, in one pass over its rows."""

"""What ``sparse_head_topk`` and ``indexed_head_topk`` share: logits of a block of rows, and the merge."""

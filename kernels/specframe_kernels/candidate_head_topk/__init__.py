"""``candidate_head_topk``: log-softmax and top-k over rows of each hidden state's own, and an active set."""

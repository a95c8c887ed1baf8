"""The drafter ``draft-model``: a small language model with the target's tokenizer."""

"""What happens between two target passes: nothing, or a draft over the active vocabulary."""

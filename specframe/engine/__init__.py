"""The loop, what drafts for it, and what is known of a generation."""

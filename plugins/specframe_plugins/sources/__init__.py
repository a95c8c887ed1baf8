"""Drafting without a head: sources say what may follow, and one tree is grown of what all of them say."""

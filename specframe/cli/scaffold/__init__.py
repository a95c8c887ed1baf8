"""Packages that `specframe new` writes: what they are called, and their files."""

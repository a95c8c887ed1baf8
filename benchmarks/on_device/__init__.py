"""What ``gpu_check.py`` looks at: one file per part, and around them the process that each part runs in."""

"""The commands, a file each: parse, call, print. What needs torch is imported when a command runs."""

"""What the parts of a step cost on this machine: measured curves, and the files that keep them."""

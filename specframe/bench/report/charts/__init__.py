"""One chart per question; each draws plain data on a matplotlib figure."""

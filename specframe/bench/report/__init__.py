"""What a run says: statistics, charts, and a page that holds them."""

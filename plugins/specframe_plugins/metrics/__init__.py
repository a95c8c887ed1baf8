"""What generations did, for Prometheus: an observer that is there only when it is asked for."""

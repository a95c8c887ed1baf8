"""What flows between the parts, and the protocols of the four components."""

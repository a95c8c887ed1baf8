"""The mathematics that verifiers share."""

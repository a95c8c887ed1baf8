"""The drafter ``swift``: the target itself with some of its layers' parts left out."""

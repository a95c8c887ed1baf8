"""Draft trees: their options, and how drafters of any kind grow them."""

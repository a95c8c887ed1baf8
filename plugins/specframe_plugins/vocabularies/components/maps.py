"""What options say that take a map of tokens."""

MAP_HELP = "any file that `specframe vocab inspect` reads"

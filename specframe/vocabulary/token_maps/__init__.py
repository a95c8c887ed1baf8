"""Maps of tokens, this project's and others': what they say, and their files."""

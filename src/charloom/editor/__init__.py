"""A run and keys in; a text that a person and the run write in a terminal out."""

"""Other programs' files in, runs out, and the other way round."""

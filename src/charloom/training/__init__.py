"""A text and settings in; a run folder with trained weights, and a stream of events, out."""

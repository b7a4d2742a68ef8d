"""A run folder and its text in; trained weights, metrics, samples and a stream of events out."""

"""Ids in, log-probabilities out, by a network and an n-gram model that are mixed."""

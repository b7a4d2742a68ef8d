"""Ids in; losses, gradients and log-probabilities out: protocols, engines, weights."""

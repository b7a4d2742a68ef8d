"""Ids in; losses, updated weights and log-probabilities out: protocols, engines, optimizers."""

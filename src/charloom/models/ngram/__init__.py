"""Ids in, log-probabilities out, by counting: n-grams, smoothed, read like any other model."""

from charloom.models.ngram.model import NgramModel, shorter

__all__ = ["NgramModel", "shorter"]

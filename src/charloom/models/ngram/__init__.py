"""Character n-grams: counted in one pass, smoothed, and read like any other model."""

from charloom.models.ngram.model import NgramModel

__all__ = ["NgramModel"]

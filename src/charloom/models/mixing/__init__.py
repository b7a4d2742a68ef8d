"""Ids in, losses or coded bytes out, by contexts of many kinds that learn while they read."""

from charloom.models.mixing.model import ContextMixer, letters_of, score_in_order
from charloom.models.mixing.tree import code_lengths

__all__ = ["ContextMixer", "code_lengths", "letters_of", "score_in_order"]

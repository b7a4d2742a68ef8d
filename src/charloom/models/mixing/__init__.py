"""Ids in, losses or coded bytes out, by contexts of many kinds that learn while they read."""

from charloom.models.mixing.model import ContextMixer, InOrder, letters_of
from charloom.models.mixing.network import Network, new_network
from charloom.models.mixing.tree import code_lengths

__all__ = ["ContextMixer", "InOrder", "Network", "code_lengths", "letters_of", "new_network"]

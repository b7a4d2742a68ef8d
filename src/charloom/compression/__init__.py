"""Any file in, a smaller one out, and back: a model's predictions as a code."""

from charloom.compression.container import compress, decompress

__all__ = ["compress", "decompress"]

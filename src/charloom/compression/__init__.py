"""Any file in, a smaller one out, and back: a model's predictions as a code."""

from charloom.compression.container import Compressed, compress, decompress, read_file

__all__ = ["Compressed", "compress", "decompress", "read_file"]

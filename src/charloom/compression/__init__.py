"""Any file in, a smaller one out, and back: a model's predictions as a code."""

from charloom.compression.codec import Compressed, compress, decompress, read_file
from charloom.compression.prior import Prior

__all__ = ["Compressed", "Prior", "compress", "decompress", "read_file"]

"""What stands between the documents of a text: one character that a model learns and nobody sees.

It is U+0000, which is in no text: a file with it is binary, and in what other files become it is
taken out. Documents end with a line end, so that shown as one more it is a blank line.
"""

from charloom.data.tokenizer import Tokenizer

BOUNDARY = "\0"  # behind each document of several
MARK = "<|endoftext|>"  # a line that is this one separates the documents of a plain file


def visible(text: str) -> str:
    """Return a text as people see it, of the same length: line ends for its boundaries."""
    return text.replace(BOUNDARY, "\n")


def readable(text: str, tokenizer: Tokenizer) -> str:
    """Return a text for a model to read, which may know no boundaries: then as people see it."""
    return visible(text) if tokenizer.boundary is None else text
